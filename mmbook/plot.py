"""The few plots that chapters share, in colours that colour-blind readers can tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# Okabe and Ito's palette (2008), https://jfly.uni-koeln.de/color/, without its yellow, which is lost on
# white.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"
# One colour for each modality, the same in every chapter.
COLOURS = {"text": BLUE, "image": ORANGE, "audio": GREEN, "video": PURPLE}
GREY = "#808080"  # readable on white and on black


def _axes(ax: Axes | None, width: float, height: float) -> Axes:
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained")[1] if ax is None else ax


def history(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Training and validation loss by epoch; a dot marks the lowest validation loss.

    Args:
        table: what `mmbook.Trainer.fit` returns.
    """
    ax = _axes(ax, 5.5, 3)
    ax.plot(table.epoch, table.loss, color=BLUE, label="training")
    if "valid_loss" in table:
        ax.plot(table.epoch, table.valid_loss, color=RED, linestyle="--", label="validation")
        best = table.valid_loss.argmin()
        ax.plot(table.epoch.iloc[best], table.valid_loss.iloc[best], "o", color=RED)
    ax.set(xlabel="epoch", ylabel="loss (nats)")
    ax.legend(frameon=False)
    return ax


def intervals(
    rows: Mapping[str, tuple[float, float, float]],
    marks: Mapping[str, Mapping[str, float]] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """One dot with its interval for each row, first on top; marks are ceilings and the like.

    Args:
        rows: label -> estimate and the two ends, such as `mmbook.evaluate.Interval`.
        marks: name of the mark -> {label of the row: value}; each name gets a shape of its own.
    """
    ax = _axes(ax, 7, 0.42 * len(rows) + 1.2)
    places = {label: -i for i, label in enumerate(rows)}
    for label, (mean, low, high) in rows.items():
        ax.plot([low, high], [places[label]] * 2, color=BLUE, linewidth=2)
        ax.plot(mean, places[label], "o", color=BLUE)
    looks = zip("dDX", (RED, ORANGE, GREEN), strict=True)
    for (name, values), (shape, colour) in zip((marks or {}).items(), looks, strict=False):
        known = [label for label in rows if label in values]
        ax.scatter(
            [values[k] for k in known],
            [places[k] for k in known],
            marker=shape,
            s=55,
            facecolors="none",
            edgecolors=colour,
            linewidths=1.8,
            zorder=3,
            label=name,
        )
    ax.set_yticks(list(places.values()), list(places))
    ax.grid(axis="x", alpha=0.3)
    if marks:
        ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
    return ax


def confusion(matrix: ArrayLike, classes: Sequence[str], ax: Axes | None = None) -> Axes:
    """Counts by true class (rows) and predicted class (columns)."""
    counts = np.asarray(matrix)
    ax = _axes(ax, 3.6, 3.2)
    ax.imshow(counts, cmap="Blues", vmin=0)
    for (i, j), n in np.ndenumerate(counts):
        ax.text(j, i, f"{n}", ha="center", va="center", color="white" if n > counts.max() / 2 else "black")
    ax.set_xticks(range(len(classes)), classes)
    ax.set_yticks(range(len(classes)), classes)
    ax.set(xlabel="predicted", ylabel="true")
    return ax
