"""Datasets that lack modalities, at random or by a rule, with as many samples as before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mmbook.data.splits import stream
from mmbook.evaluate.corrupt import check_rate
from mmbook.evaluate.views import View, gone


class Missing(View):
    """Each modality of each row is missing with its rate, independently of all else.

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
