"""How a score falls as the input gets worse: the same samples at every level, and their differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import ArrayLike

from mmbook.evaluate.intervals import Interval
from mmbook.evaluate.predicting import predict_logits
from mmbook.evaluate.scores import Score, Statistic, usual_scores
from mmbook.evaluate.views import View, labels_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def robustness_curve(
    models: Any,
    dataset: Any,
    corrupt: Callable[[Any, float], Any],
    levels: Sequence[float],
    *,
    score: Score | Statistic | None = None,
    clusters: Mapping[str, ArrayLike] | None = None,
) -> pd.DataFrame:
    """Score at each level of a corruption, with its interval, and the paired change from the first level.

    The population is fixed. A corruption that loses samples (those without any modality, say) would leave the
    easy ones, and the curve would flatter; it is refused.

    Args:
        models: one a training seed, or a single one; see `predict_logits`.
        dataset: of rows with labels, intact.
        corrupt: ``(dataset, level) -> dataset``, such as
            ``lambda data, rate: MissingAtRandom(data, {"audio": rate})``.
        levels: the first is what the others are compared with, usually the one that changes nothing.
        score: None for accuracy, or mean absolute error where labels are numbers.
        clusters: as in `interval`; None takes those of the dataset, where it says.

    Returns:
        One line a level: level, n, score, low, high, change, change_low, change_high. The changes of the
        first line are zero.

    Raises:
        ValueError: no levels, or a corruption that changes the number of samples or their labels.
    """
    import pandas as pd

    if not levels:
        raise ValueError("there are no levels; give at least the one that changes nothing, and another")
    clusters = getattr(dataset, "clusters", None) if clusters is None else clusters
    intact, truth = View(dataset), labels_of(dataset)
    measured: Any = usual_scores(truth)[0] if score is None else score
    runs = list(models) if isinstance(models, list | tuple) else [models]
    lines, first = [], None
    for level in levels:
        worse = corrupt(intact, level)
        if len(worse) != len(intact) or not torch.equal(labels_of(worse), truth):
            raise ValueError(
                f"at level {level} there are {len(worse)} rows, {len(intact)} before, or their labels "
                f"differ; a curve over other samples compares nothing: keep every row, and its label"
            )
        answers = torch.stack([predict_logits(model, worse) for model in runs])
        found = measured.measure(answers, truth, clusters)
        change = Interval(0.0, 0.0, 0.0) if first is None else (found - first).interval()
        first = found if first is None else first
        lines.append((level, len(worse), *found.interval(), *change))
    columns = ["level", "n", "score", "low", "high", "change", "change_low", "change_high"]
    return pd.DataFrame(lines, columns=columns)


def curve_plot(curves: Mapping[str, pd.DataFrame], ax: Axes | None = None) -> Axes:
    """Score by level for each of several `robustness_curve` tables, with the interval as a band."""
    import matplotlib.pyplot as plt

    from mmbook.plot import BLUE, GREEN, ORANGE, PURPLE, RED, SKY

    ax = plt.subplots(figsize=(5.5, 3.4), layout="constrained")[1] if ax is None else ax
    looks = zip((BLUE, RED, GREEN, ORANGE, PURPLE, SKY), "osD^vX", strict=True)
    for (name, table), (colour, shape) in zip(curves.items(), looks, strict=False):
        ax.plot(table.level, table.score, color=colour, marker=shape, label=name)
        ax.fill_between(table.level, table.low, table.high, color=colour, alpha=0.2, linewidth=0)
    ax.set(xlabel="level", ylabel="score")
    ax.legend(frameon=False)
    return ax
