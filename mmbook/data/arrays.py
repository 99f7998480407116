"""A dataset made of arrays: your own features, or an encoder's output computed once and kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset


class ArrayDataset(Dataset):
    """Rows ``{name: (T_i, D), ..., "labels": ..., "id": i}`` cut from arrays; made by `from_arrays`.

    Attributes:
        arrays: name -> ``(N, T, D)`` float32.
        lengths: name -> ``(N,)`` long, the number of real steps; 0 where the sample lacks the modality.
        labels: ``(N,)`` long for classes, float32 ``(N,)`` or ``(N, K)`` for numbers.
    """

    deterministic = True  # nothing is drawn at random when a row is read

    def __init__(self, arrays: dict[str, Tensor], lengths: dict[str, Tensor], labels: Tensor) -> None:
        self.arrays, self.lengths, self.labels = arrays, lengths, labels

    @property
    def dims(self) -> dict[str, int]:
        """name -> width D, which is what a fusion asks for."""
        return {name: array.shape[-1] for name, array in self.arrays.items()}

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> dict[str, Any]:
        row: dict[str, Any] = {"labels": self.labels[i], "id": i}
        for name, array in self.arrays.items():
            length = int(self.lengths[name][i])
            row[name] = array[i, :length] if length else None
        return row

    def __getitems__(self, indices: Sequence[int]) -> ArrayRows:
        """The rows of a batch at once, as torch's data loader asks for them where it can."""
        return ArrayRows(self, indices)

    def select(self, names: Sequence[str]) -> ArrayDataset:
        """The same samples with these modalities only (no copy)."""
        for name in names:
            if name not in self.arrays:
                raise ValueError(f"no modality {name!r} here; there are {', '.join(self.arrays)}")
        return ArrayDataset(
            {n: self.arrays[n] for n in names}, {n: self.lengths[n] for n in names}, self.labels
        )

    def shuffled(self, name: str, seed: int = 0) -> ArrayDataset:
        """The same samples with one modality dealt out anew: a control that keeps its distribution."""
        self.select([name])
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        arrays = self.arrays | {name: self.arrays[name][order]}
        return ArrayDataset(arrays, self.lengths | {name: self.lengths[name][order]}, self.labels)


class ArrayRows(Sequence[dict[str, Any]]):
    """Rows of an `ArrayDataset` that are cut out only when asked for one by one.

    For small models, cutting and padding row by row takes longer than the training step; `collated` gives the
    same batch as `mmbook.collate` does from the single rows, by one look-up in each array.
    """

    def __init__(self, data: ArrayDataset, indices: Sequence[int]) -> None:
        self.data, self.indices = data, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i: Any) -> Any:
        return ArrayRows(self.data, self.indices[i]) if isinstance(i, slice) else self.data[self.indices[i]]

    def collated(self) -> dict[str, Tensor]:
        """``{name: (B, T, D), name_mask: (B, T), ..., "labels": ..., "ids": (B,)}``."""
        ids = torch.as_tensor(self.indices)
        batch: dict[str, Tensor] = {}
        for name, array in self.data.arrays.items():
            lengths = self.data.lengths[name][ids]
            longest = int(lengths.max())
            if longest:  # else no row has it
                mask = torch.arange(longest) < lengths[:, None]
                batch[name] = array[ids, :longest].masked_fill(~mask[..., None], 0)
                batch[f"{name}_mask"] = mask
        return batch | {"labels": self.data.labels[ids], "ids": ids}


def from_arrays(
    arrays: Mapping[str, Any], labels: Any, lengths: Mapping[str, Any] | None = None
) -> ArrayDataset:
    """A dataset from feature arrays, numpy or torch.

    Args:
        arrays: name -> ``(N, T, D)``, or ``(N, D)`` for one vector per sample.
        labels: ``(N,)`` integers for classes; floats ``(N,)`` or ``(N, K)`` for regression.
        lengths: name -> ``(N,)``, how many of the T steps are real (0: the sample lacks it). All, where not
            given.

    Raises:
        ValueError: no arrays, shapes that do not fit each other, lengths outside 0..T or for an unknown name.
    """
    if not arrays:
        raise ValueError("from_arrays got no arrays; give at least one modality, as {'name': array}")
    y = torch.as_tensor(np.asarray(labels))
    y = y.float() if y.is_floating_point() else y.long()
    values, sizes = {}, {}
    for name, array in arrays.items():
        x = torch.as_tensor(np.asarray(array)).float()
        x = x[:, None] if x.dim() == 2 else x
        if x.dim() != 3 or len(x) != len(y):
            raise ValueError(
                f"{name!r} has shape {tuple(x.shape)}; with {len(y)} labels it must be ({len(y)}, T, D)"
            )
        values[name] = x
        sizes[name] = torch.full((len(y),), x.shape[1])
    for name, length in (lengths or {}).items():
        if name not in values:
            raise ValueError(f"lengths are given for {name!r}, but the arrays are {', '.join(values)}")
        n = torch.as_tensor(np.asarray(length)).long()
        steps = values[name].shape[1]
        if n.shape != y.shape[:1] or int(n.min()) < 0 or int(n.max()) > steps:
            raise ValueError(f"lengths of {name!r} must be {len(y)} numbers from 0 to {steps}")
        sizes[name] = n
    return ArrayDataset(values, sizes, y)
