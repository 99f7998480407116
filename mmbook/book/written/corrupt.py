"""Datasets that are worse by a stated amount, and how a score falls on them. Never fewer samples than before.

What is drawn is a pure function of (seed, modality, index): the same on every machine, in every order of
reading, and the same at every level. A higher level adds to what a lower one has done, so a curve over levels
compares like with like.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from mmbook.evaluate.inputs import finite
from mmbook.evaluate.intervals import Interval
from mmbook.evaluate.predicting import predict_logits
from mmbook.evaluate.scores import Score, Statistic, usual_scores
from mmbook.evaluate.views import View, check_rate, gone, labels_of, names_of
from mmbook.seeding import stream

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


class Noisy(View):
    """One modality plus Gaussian noise of deviation ``level * scale`` on every number.

    For features, and for pictures as processors make them, whose pixels have a deviation of about 1.

    Args:
        dataset: of float rows ``(T, ...)`` in `name`.
        name: of the modality.
        level: deviation of the noise in units of `scale`; 0 changes nothing.
        seed: of the draw.
        scale: the modality's own deviation, such as `deviation` finds on the *training* set.

    Raises:
        ValueError: an unknown name, a negative or infinite level or scale, or values that are no floats.
    """

    def __init__(
        self, dataset: Any, name: str, level: float, seed: int = 0, scale: float | Tensor = 1.0
    ) -> None:
        super().__init__(dataset)
        self.check([name])
        if not 0 <= level < math.inf or not (torch.as_tensor(scale) >= 0).all():
            raise ValueError(f"level is {level} and scale {scale}; both must be 0 or more")
        self.name, self.seed, self.size = name, seed, level * torch.as_tensor(scale)

    def change(self, row: dict[str, Any], index: int) -> dict[str, Any]:
        value = row.get(self.name)
        if value is None:
            return row
        return row | {self.name: value + self.size * _noise(value, self.name, self.seed, index)}


class Hiss(View):
    """A sound plus white noise at a signal-to-noise ratio in decibels, against the sound's own power.

    Args:
        dataset: of waveforms ``(T,)`` in `name`.
        snr: decibels; infinity changes nothing, at 0 noise and sound are equally strong, below it wins.
        name: of the modality.
        seed: of the draw.

    Raises:
        ValueError: an unknown name, or a ratio that is NaN or minus infinity.
    """

    def __init__(self, dataset: Any, snr: float, name: str = "audio", seed: int = 0) -> None:
        super().__init__(dataset)
        self.check([name])
        if not snr > -math.inf:
            raise ValueError(f"snr is {snr}; give decibels, infinity for no noise")
        self.name, self.seed, self.snr = name, seed, snr

    def change(self, row: dict[str, Any], index: int) -> dict[str, Any]:
        value = row.get(self.name)
        if value is None or self.snr == math.inf:
            return row
        size = value.square().mean().sqrt() * 10 ** (-self.snr / 20)
        return row | {self.name: value + size * _noise(value, self.name, self.seed, index)}


class Dropped(View):
    """A text, or any row of tokens, without some of them; each goes with probability `rate`.

    The rest closes up, as when somebody types in a hurry. A row that loses everything lacks the
    modality: its length is 0.

    Args:
        dataset: of tokens ``(T, ...)`` in `name`.
        rate: from 0 to 1.
        name: of the modality.
        seed: of the draw.
        keep: ids that always stay, such as those of [CLS] and [SEP].

    Raises:
        ValueError: an unknown name, or a rate outside [0, 1].
    """

    def __init__(
        self, dataset: Any, rate: float, name: str = "text", seed: int = 0, keep: Sequence[int] = ()
    ) -> None:
        super().__init__(dataset)
        self.check([name])
        self.name, self.seed, self.rate, self.keep = name, seed, check_rate(rate), torch.tensor([*keep])

    def change(self, row: dict[str, Any], index: int) -> dict[str, Any]:
        value = row.get(self.name)
        if value is None:
            return row
        luck = stream("dropped", self.seed, self.name, index).random(len(value))
        stays = torch.from_numpy(luck >= self.rate)
        if len(self.keep):
            stays |= torch.isin(value, self.keep)
        return row | {self.name: value[stays]}


def deviation(dataset: Any, name: str) -> float:
    """Standard deviation of all numbers of one modality, over the rows that have it: a unit for `Noisy`.

    Raises:
        ValueError: an unknown name, a modality that no row has, or a value that is not finite.
    """
    if name not in names_of(dataset):
        raise ValueError(f"no modality {name!r} here; there are {', '.join(names_of(dataset))}")
    count, total, squares = 0, 0.0, 0.0
    for i in range(len(dataset)):
        value = dataset[i].get(name)
        if value is not None and len(value):
            numbers = finite(value, f"values of {name!r} in row {i}")
            count, total = count + numbers.size, total + numbers.sum()
            squares += (numbers**2).sum()
    if not count:
        raise ValueError(f"no row has {name!r}, so it has no deviation")
    return math.sqrt(max(0.0, squares / count - (total / count) ** 2))


def _noise(value: Tensor, name: str, seed: int, index: int) -> Tensor:
    if not value.is_floating_point():
        raise ValueError(f"{name!r} holds {value.dtype}; noise can be added to float values only")
    drawn = stream("noise", seed, name, index).standard_normal(tuple(value.shape), dtype="float32")
    return torch.from_numpy(drawn).to(value.dtype)


class MissingWhere(View):
    """One modality is missing in the rows that a mask names: by class, by speaker, by device.

    Such a gap says something by itself. A model can learn "no picture, so it is class 1", and
    will be wrong wherever the rule does not hold.

    Args:
        dataset: of rows.
        name: of the modality.
        where: ``(N,)`` bool, such as ``dataset.labels == 1`` or ``np.isin(speaker, [3, 5])``.

    Raises:
        ValueError: an unknown name, or a mask of another shape or type.
    """

    def __init__(self, dataset: Any, name: str, where: ArrayLike) -> None:
        super().__init__(dataset)
        self.check([name])
        mask = np.asarray(where)
        if mask.shape != (len(self),) or mask.dtype != bool:
            raise ValueError(
                f"where is {mask.dtype} {mask.shape}; with {len(self)} rows give bool ({len(self)},)"
            )
        self.name, self.where = name, mask

    def change(self, row: dict[str, Any], index: int) -> dict[str, Any]:
        return row | {self.name: gone(row.get(self.name))} if self.where[index] else row


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
