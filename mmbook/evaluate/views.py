"""A dataset seen otherwise: fewer modalities, gaps in them, one of them dealt out anew, or the labels.

Each works on rows ``{name: Tensor, ..., "labels", "id"}`` of any dataset, and has as many as it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mmbook.data.arrays import ArrayDataset
from mmbook.seeding import stream


def labels_of(dataset: Any) -> Tensor:
    """All labels ``(N, ...)``: the attribute where there is one, else read row by row."""
    labels = getattr(dataset, "labels", None)
    if labels is None:
        labels = torch.stack([torch.as_tensor(dataset[i]["labels"]) for i in range(len(dataset))])
    return labels if isinstance(labels, Tensor) else torch.as_tensor(np.asarray(labels))


def names_of(dataset: Any) -> tuple[str, ...]:
    """The modalities: ``dims`` or ``modalities`` of the dataset where it has them, else of all its rows."""
    for attribute in ("dims", "modalities"):
        if getattr(dataset, attribute, None):
            return tuple(getattr(dataset, attribute))
    keys = dict.fromkeys(key for i in range(len(dataset)) for key in dataset[i])
    return tuple(key for key in keys if key not in ("labels", "id"))


class View(Dataset[dict[str, Any]]):
    """The rows of another dataset, changed one by one by `change`; always as many, with their ids.

    By itself it changes nothing, but knows names and labels without reading the rows again.

    Attributes:
        dataset: the other one.
        modalities: its names.
        labels: ``(N, ...)``.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.modalities = names_of(dataset)
        self.labels = labels_of(dataset)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]  # IndexError where it should be, and negative indices
        return self.change(dict(self.dataset[index]), index)

    def change(self, row: dict[str, Any], index: int) -> dict[str, Any]:
        """The new row; it may write into `row`, but not into its tensors."""
        return row

    def check(self, names: Sequence[str]) -> None:
        """Refuse a name that is no modality of the dataset."""
        for name in names:
            if name not in self.modalities:
                raise ValueError(f"no modality {name!r} here; there are {', '.join(self.modalities)}")


class Only(View):
    """The same samples with these modalities only, as ``ArrayDataset.select`` does it.

    Raises:
        ValueError: a name that is no modality of the dataset, or none.
    """

    def __init__(self, dataset: Any, names: Sequence[str]) -> None:
        super().__init__(dataset)
        self.check(names)
        if not names:
            raise ValueError(f"no modality is left; choose from {', '.join(self.modalities)}")
        self.modalities = tuple(names)

    def change(self, row: dict[str, Any], index: int) -> dict[str, Any]:
        return {key: value for key, value in row.items() if key in (*self.modalities, "labels", "id")}


class Shuffled(View):
    """The same samples, one modality dealt out anew among them, as ``ArrayDataset.shuffled`` does it.

    The modality keeps its distribution and loses all that ties it to the label and to the others.

    Raises:
        ValueError: a name that is no modality of the dataset.
    """

    def __init__(self, dataset: Any, name: str, seed: int = 0) -> None:
        super().__init__(dataset)
        self.check([name])
        self.name, self.order = name, _order(len(self), seed)

    def change(self, row: dict[str, Any], index: int) -> dict[str, Any]:
        return row | {self.name: self.dataset[self.order[index]].get(self.name)}


class ShuffledLabels(View):
    """The same samples, their labels dealt out anew: nothing is left to learn but how frequent each is."""

    def __init__(self, dataset: Any, seed: int = 0) -> None:
        super().__init__(dataset)
        self.labels = self.labels[_order(len(self), seed)]

    def change(self, row: dict[str, Any], index: int) -> dict[str, Any]:
        return row | {"labels": self.labels[index]}


def gone(value: Tensor | None) -> Tensor | None:
    """A missing modality as a tensor of length 0: even where all rows lack it, a batch then has its mask."""
    return None if value is None else value[:0]


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


def check_rate(rate: float) -> float:
    """`rate` itself, from 0 to 1."""
    if not 0 <= rate <= 1:
        raise ValueError(f"the rate is {rate}; it must be from 0 to 1")
    return rate


# Arrays make whole batches at once, and a control need not be slower than the method it controls.
def only(dataset: Any, names: Sequence[str]) -> Any:
    """`Only`, or the dataset's own ``select`` where it has one."""
    return dataset.select(names) if hasattr(dataset, "select") else Only(dataset, names)


def shuffled(dataset: Any, name: str, seed: int) -> Any:
    """`Shuffled`, or the dataset's own ``shuffled`` where it has one."""
    return dataset.shuffled(name, seed) if hasattr(dataset, "shuffled") else Shuffled(dataset, name, seed)


def shuffled_labels(dataset: Any, seed: int) -> Any:
    """`ShuffledLabels`, or the same as arrays."""
    view = ShuffledLabels(dataset, seed)
    if isinstance(dataset, ArrayDataset):
        return ArrayDataset(dataset.arrays, dataset.lengths, view.labels)
    return view


def _order(count: int, seed: int) -> list[int]:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
