"""The mistakes themselves: what a model was surest of and wrong about, to look at, listen to and read."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmbook.evaluate.inputs import class_logits, numbers
from mmbook.evaluate.views import labels_of

if TYPE_CHECKING:
    import pandas as pd

RATE = 16000  # of waveforms, see `mmbook.modality`
_ROW = "border:1px solid currentColor;border-radius:8px;padding:12px;margin:8px 0;max-width:36rem"


@dataclass(frozen=True)
class Errors:
    """Mistakes, the worst first; shown in a page as what the samples are made of.

    Attributes:
        table: one line a mistake: index, label, predicted, confidence (for numbers: error).
        count: mistakes in all, of `total` samples.
        html: the page's view, with everything inside of it: it needs no kernel and no network.
    """

    table: pd.DataFrame
    count: int
    total: int
    html: str

    def __str__(self) -> str:
        return f"{self.count} of {self.total} samples\n{self.table.to_string(index=False)}"

    def _repr_html_(self) -> str:
        return self.html


def browse_errors(
    dataset: Any,
    answers: Tensor | Any,
    classes: Sequence[str] | None = None,
    *,
    k: int = 6,
    decode: Mapping[str, Callable[[Tensor], str]] | None = None,
) -> Errors:
    """The `k` wrong answers that were given with the greatest confidence; for numbers, the largest errors.

    A sample is shown by the dataset's own ``show`` where it has one (as `Reviews` does), else by what its row
    holds: pictures, sounds at 16 kHz with a player, text where `decode` says how to read the ids.

    Args:
        dataset: with labels; the rows that were answered, in the same order.
        answers: ``(N, C)`` logits or, for numeric labels, ``(N,)`` or ``(N, K)`` values; or an object with
            ``.logits``, such as a trainer's predictions.
        classes: their names; None for the dataset's own, or numbers.
        k: how many.
        decode: modality -> function from its ids to a text.

    Raises:
        ValueError: answers that do not fit the labels.
    """
    import pandas as pd

    labels, found = labels_of(dataset), torch.as_tensor(getattr(answers, "logits", answers))
    names = list(classes or getattr(dataset, "classes", None) or [])
    if labels.is_floating_point():
        values, truth = numbers(found, labels)
        size = (values - truth).abs().mean(dim=1)
        order = size.argsort(descending=True, stable=True)
        order = order[size[order] > 0]
        count, kind = len(order), "error"
        told = [(_number(truth[i]), _number(values[i]), float(size[i])) for i in order[:k].tolist()]
    else:
        logits, truth = class_logits(found, labels)
        sure, guess = logits.softmax(dim=1).max(dim=1)
        wrong = torch.nonzero(guess != truth)[:, 0]
        order = wrong[sure[wrong].argsort(descending=True, stable=True)]
        count, kind = len(wrong), "confidence"
        called = names or [str(c) for c in range(logits.shape[1])]
        told = [(called[truth[i]], called[guess[i]], float(sure[i])) for i in order[:k].tolist()]
    lines = [(i, *line) for i, line in zip(order[:k].tolist(), told, strict=True)]
    table = pd.DataFrame(lines, columns=["index", "label", "predicted", kind])
    cards = [
        f'<li><p style="margin:8px 0 0">Sample {i}: predicted <strong>{escape(guessed)}</strong>, '
        f"{kind} {size:.3f}; the label is <strong>{escape(label)}</strong>.</p>"
        f"{shown(dataset, i, decode or {})}</li>"
        for i, label, guessed, size in lines
    ]
    head = f"<p>{count} of {len(labels)} answers differ from the label.</p>"
    return Errors(table, count, len(labels), f"{head}<ol>{''.join(cards)}</ol>" if cards else head)


def shown(dataset: Any, index: int, decode: Mapping[str, Callable[[Tensor], str]]) -> str:
    """One sample as HTML: as the dataset shows it, else modality by modality."""
    if hasattr(dataset, "show"):
        return str(dataset.show(index).data)
    row = dataset[index]
    parts = [
        _modality(name, value, index, decode.get(name))
        for name, value in row.items()
        if name not in ("labels", "id")
    ]
    return f'<div style="{_ROW}">{"".join(parts)}</div>'


def _modality(name: str, value: Tensor | None, index: int, decode: Callable[[Tensor], str] | None) -> str:
    what = f"{escape(name)} of sample {index}"
    if value is None or len(value) == 0:
        return f"<p>{escape(name)}: missing</p>"
    if decode is not None:
        return f"<p>{escape(decode(value))}</p>"
    if value.is_floating_point() and value.dim() == 4 and value.shape[1] == 3:
        return f'<img src="data:image/png;base64,{_picture(value[0])}" alt="{what}" style="max-width:12rem">'
    if value.is_floating_point() and value.dim() == 1:
        return (
            f'<audio controls preload="metadata" aria-label="{what}" style="width:100%;max-width:20rem" '
            f'src="data:audio/wav;base64,{_sound(value)}"></audio>'
        )
    size = " × ".join(map(str, value.shape))
    return f"<p>{escape(name)}: {'numbers' if value.is_floating_point() else 'ids'}, {size}</p>"


def _picture(image: Tensor) -> str:
    from PIL import Image

    from mmbook.preprocess import ImageProcessor

    file = io.BytesIO()
    pixels = (ImageProcessor().undo(image) * 255).round().byte().numpy()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")


def _sound(wave: Tensor) -> str:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, wave.numpy(), RATE, format="WAV", subtype="PCM_16")
    return base64.b64encode(file.getvalue()).decode("ascii")


def _number(values: Tensor) -> str:
    return ", ".join(f"{value:.3g}" for value in values.tolist())
