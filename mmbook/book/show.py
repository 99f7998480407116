"""Saliency maps made visible: on a picture, on a spectrogram, on words.

Blue speaks for the class, orange against it. Colour never stands alone: plots have a bar with signs, words
are underlined differently and listed as text.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mmbook.plot import BLUE, ORANGE

if TYPE_CHECKING:
    from IPython.display import HTML
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]
LISTED = 3  # words of each sign in the text alternative


def overlay(picture: ArrayLike | Tensor, found: ArrayLike | Tensor, ax: Axes | None = None) -> Axes:
    """A picture in grey, with its map in colour on top; the stronger, the less one can see through.

    Args:
        picture: ``(H, W, 3)`` in [0, 1], as ``ImageProcessor.undo`` gives it.
        found: ``(H, W)``, as one frame of `by_pixel`.

    Raises:
        ValueError: shapes that do not fit, or values that are not finite.
    """
    shown, saliency = _array(picture), _array(found)
    if shown.ndim != 3 or shown.shape[:2] != saliency.shape:
        raise ValueError(
            f"picture has shape {shown.shape} and map {saliency.shape}; they must be (H, W, 3) and (H, W)"
        )
    return _painted(shown.mean(axis=2), saliency, ax, "upper")


def spectrogram_overlay(mel: ArrayLike | Tensor, found: ArrayLike | Tensor, ax: Axes | None = None) -> Axes:
    """A log-mel spectrogram in grey, time to the right and pitch upwards, with its map in colour on top.

    Args:
        mel: ``(T, F)`` frames, as one row of what `LogMel` gives.
        found: ``(T, F)``, or ``(T,)`` for one number a frame.

    Raises:
        ValueError: shapes that do not fit, or values that are not finite.
    """
    frames, saliency = _array(mel), _array(found)
    saliency = np.repeat(saliency[:, None], frames.shape[-1], axis=1) if saliency.ndim == 1 else saliency
    if frames.ndim != 2 or saliency.shape != frames.shape:
        raise ValueError(
            f"mel has shape {frames.shape} and map {saliency.shape}; give (T, F), or (T,) for the map"
        )
    ax = _painted(frames.T, saliency.T, ax, "lower")
    ax.set_axis_on()
    ax.set(xlabel="frame", ylabel="mel band")
    return ax


def words_html(words: Sequence[str], found: ArrayLike | Tensor) -> HTML:
    """Words on a ground as strong as their number; underlined where they speak for it, dashed where against.

    The page's own text colour stays, and the ground lets enough of the page through that it is legible on
    white and on black. What a screen reader says lists the strongest words of each sign.

    Args:
        words: T of them.
        found: ``(T,)``, as one row of `by_token` without its padding.

    Raises:
        ValueError: another number of words than of values, or values that are not finite.
        ImportError: without IPython, which shows it.
    """
    from IPython.display import HTML

    values = _array(found)
    if values.shape != (len(words),):
        raise ValueError(f"there are {len(words)} words and values of shape {values.shape}; give one a word")
    largest = np.abs(values).max(initial=0) or 1.0
    marked = "".join(_word(word, value / largest) for word, value in zip(words, values.tolist(), strict=True))
    order = np.argsort(-np.abs(values))
    lists = [
        f"{sign}: {', '.join(words[i] for i in [i for i in order if way * values[i] > 0][:LISTED]) or 'none'}"
        for sign, way in (("for", 1), ("against", -1))
    ]
    spoken = f"{' '.join(words)}. Strongest words {'; '.join(lists)}"
    return HTML(
        f'<p role="img" aria-label="{escape(spoken)}" style="line-height:2">{marked}</p>'
        f'<p style="font-size:0.9em">{escape("; ".join(lists))}</p>'
    )


def _word(word: str, share: float) -> str:
    """`share` from -1 to 1."""
    red, green, blue = (int((BLUE if share > 0 else ORANGE)[i : i + 2], 16) for i in (1, 3, 5))
    line = "solid" if share > 0 else "dashed"
    width = round(3 * abs(share))
    return (
        f'<span title="{share:+.2f}" style="background:rgba({red},{green},{blue},{0.45 * abs(share):.2f});'
        f'border-bottom:{width}px {line} currentColor;padding:2px 3px">{escape(word)}</span> '
    )


def _array(values: ArrayLike | Tensor) -> Floats:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
    found = np.asarray(values, dtype=float)
    if not np.isfinite(found).all():
        raise ValueError(f"{(~np.isfinite(found)).sum()} values are NaN or infinite; nothing can be shown")
    return found


def _painted(grey: Floats, saliency: Floats, ax: Axes | None, origin: Any) -> Axes:
    import matplotlib.pyplot as plt
    from matplotlib.colors import LinearSegmentedColormap

    ax = plt.subplots(figsize=(4.4, 3.4), layout="constrained")[1] if ax is None else ax
    limit = np.abs(saliency).max() or 1.0
    colours = LinearSegmentedColormap.from_list("against and for", [ORANGE, "#f2f2f2", BLUE])
    options: dict[str, Any] = {"origin": origin, "aspect": "equal" if origin == "upper" else "auto"}
    ax.imshow(grey, cmap="gray", **options)
    layer = ax.imshow(
        saliency, cmap=colours, vmin=-limit, vmax=limit, alpha=0.85 * np.abs(saliency) / limit, **options
    )
    scale = plt.cm.ScalarMappable(layer.norm, colours)  # of its own: the layer is see-through in places
    bar = ax.figure.colorbar(scale, ax=ax, ticks=[-limit, 0, limit], shrink=0.8)
    bar.ax.set_yticklabels(["against", "0", "for"])
    ax.set_axis_off()
    return ax
