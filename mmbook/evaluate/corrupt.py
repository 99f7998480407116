"""Datasets that are worse by a stated amount: noise, dropped words. Never fewer samples than before.

What is drawn is a pure function of (seed, modality, index): the same on every machine, in every order of
reading, and the same at every level. A higher level adds to what a lower one has done, so a curve over levels
compares like with like.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from mmbook.evaluate.inputs import finite
from mmbook.evaluate.views import View, gone, names_of
from mmbook.seeding import stream


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


def check_rate(rate: float) -> float:
    """`rate` itself, from 0 to 1."""
    if not 0 <= rate <= 1:
        raise ValueError(f"the rate is {rate}; it must be from 0 to 1")
    return rate


def _noise(value: Tensor, name: str, seed: int, index: int) -> Tensor:
    if not value.is_floating_point():
        raise ValueError(f"{name!r} holds {value.dtype}; noise can be added to float values only")
    drawn = stream("noise", seed, name, index).standard_normal(tuple(value.shape), dtype="float32")
    return torch.from_numpy(drawn).to(value.dtype)


class MissingAtRandom(View):
    """Each modality of each row is missing with its rate, independently of all else.

    That is *completely* at random in the terms of Rubin (1976), https://doi.org/10.1093/biomet/63.3.581: what
    is gone says nothing of what it was. `MissingWhere` makes gaps that do.

    Whether it is, is a pure function of (seed, modality, index), and what is missing at a rate is missing at
    every higher one. A row may lose everything; it stays, and the model must answer it.

    Args:
        dataset: of rows.
        rate: for all modalities, or by name: one that is not named is always there, as in
            ``{"image": 0.5, "audio": 0.5}``; ``{"audio": 1}`` takes a modality away as a whole.
        seed: of the draw.

    Raises:
        ValueError: a rate outside [0, 1], or for an unknown name.
    """

    def __init__(self, dataset: Any, rate: float | Mapping[str, float], seed: int = 0) -> None:
        super().__init__(dataset)
        rates = dict(rate) if isinstance(rate, Mapping) else dict.fromkeys(self.modalities, rate)
        self.check(list(rates))
        self.seed, self.rates = seed, {name: check_rate(value) for name, value in rates.items()}

    def change(self, row: dict[str, Any], index: int) -> dict[str, Any]:
        for name, rate in self.rates.items():
            if rate > 0 and stream("missing", self.seed, name, index).random() < rate:
                row[name] = gone(row.get(name))
        return row


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
