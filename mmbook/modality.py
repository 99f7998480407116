"""The one type that travels between the layers, and the function that makes batches of it.

At the boundary a batch is a flat dict of tensors, as the ecosystem expects:
``{"text": values, "text_mask": mask, "image": ..., "image_mask": ..., "labels": ..., "ids": ...}``.
Inside, a modality is a pair of values and mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

RESERVED = ("labels", "ids", "num_items_in_batch")


class Modality(NamedTuple):
    """A batch of one modality.

    Attributes:
        values: ``(B, T, ...)``. Token ids ``(B, T)`` long; waveform ``(B, T)`` float at 16 kHz;
            video ``(B, T, 3, H, W)``, of which an image is one frame; features ``(B, T, D)``.
        mask: ``(B, T)`` bool, True where the value is real. A sample that lacks the modality has a row of
            False.
    """

    values: Tensor
    mask: Tensor

    @property
    def present(self) -> Tensor:
        """``(B,)`` bool: which samples have this modality at all.

        Code to be compiled writes ``mask.any(dim=1)``: torch 2.6 cannot trace the property of a named tuple.
        """
        return self.mask.any(dim=1)

    def cleaned(self, fill: float = 0) -> Modality:
        """The same with `fill` wherever the mask is False.

        What lies under the mask may be anything, NaN and impossible ids included. Multiplying it by zero
        would not remove it, since ``0 * nan`` is NaN; it has to be overwritten before the first operation.
        """
        mask = self.mask.reshape(self.mask.shape + (1,) * (self.values.dim() - 2))
        return Modality(self.values.masked_fill(~mask, fill), self.mask)

    def pooled(self) -> Tensor:
        """Mean over the real tokens of features ``(B, T, D)``: ``(B, D)``, zero where there is none."""
        values, mask = self.cleaned()
        count = mask.sum(dim=1, keepdim=True).clamp(min=1)
        return values.sum(dim=1) / count.to(values.dtype)


def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Pad rows of a dataset into one batch, with a mask for each modality.

    Args:
        rows: each ``{name: Tensor (T, ...), "labels": ..., "id": ...}``. A modality may be absent from a row
            or None. One that is absent from every row is left out of the batch. Rows that know how to make
            a batch of themselves (``rows.collated()``, see `mmbook.data.ArrayDataset`) do so.

    Returns:
        ``name`` -> ``(B, T, ...)`` padded with zeros, ``name_mask`` -> ``(B, T)`` bool, and ``labels`` and
        ``ids`` where the rows have them; ids that are text stay a list.

    Raises:
        ValueError: no rows; a key in some rows only (labels, id); shapes that differ beyond the first
            dimension.
    """
    if not rows:
        raise ValueError("collate got no rows; a batch needs at least one")
    if hasattr(rows, "collated"):
        batched: dict[str, Any] = rows.collated()
        return batched
    names = dict.fromkeys(key for row in rows for key in row if key not in ("labels", "id"))
    batch: dict[str, Any] = {}
    for name in names:
        items = [row.get(name) for row in rows]
        if any(item is not None for item in items):
            batch[name], batch[f"{name}_mask"] = pad(items, name)
    for key, out in (("labels", "labels"), ("id", "ids")):
        found = [row[key] for row in rows if row.get(key) is not None]
        if found and len(found) != len(rows):
            raise ValueError(
                f"{len(rows) - len(found)} of {len(rows)} rows have no {key!r}; give it in all rows or none"
            )
        if found:
            text = key == "id" and any(isinstance(value, str) for value in found)
            batch[out] = found if text else torch.stack([torch.as_tensor(value) for value in found])
    return batch


def pad(items: Sequence[Tensor | None], name: str = "modality") -> tuple[Tensor, Tensor]:
    """Stack items ``(T_i, ...)`` of unequal length: values ``(B, max T_i, ...)`` and mask ``(B, max T_i)``.

    None, or a tensor of length 0, is a missing item: a row of False. At least one item must be a tensor.
    """
    first = next(item for item in items if item is not None)
    for i, item in enumerate(items):
        if item is not None and (item.dim() == 0 or item.shape[1:] != first.shape[1:]):
            raise ValueError(
                f"{name!r} of row {i} has shape {tuple(item.shape)}, but {tuple(first.shape)} came before: "
                f"only the first dimension (time) may differ"
            )
    length = max(1, *(item.shape[0] for item in items if item is not None), 1)
    values = first.new_zeros((len(items), length, *first.shape[1:]))
    mask = torch.zeros(len(items), length, dtype=torch.bool)
    for row, item in enumerate(items):
        if item is not None:
            values[row, : item.shape[0]] = item
            mask[row, : item.shape[0]] = True
    return values, mask


def group(batch: Mapping[str, Any], names: Sequence[str]) -> dict[str, Modality]:
    """The flat batch as ``{name: Modality}`` for the given names, leaving out those the batch does not hold.

    A missing ``<name>_mask`` means that everything is real.

    Raises:
        ValueError: a key that is neither a name, nor a name's mask, nor one of labels, ids,
            num_items_in_batch.
    """
    masks = [f"{name}_mask" for name in names]
    for key in batch:
        if key not in names and key not in masks and key not in RESERVED:
            raise ValueError(
                f"forward got {key!r}; this model takes {', '.join(names)} (each with an optional _mask) "
                f"and {', '.join(RESERVED)}"
            )
    grouped = {}
    for name in names:
        values = batch.get(name)
        if values is None:
            continue
        mask = batch.get(f"{name}_mask")
        if mask is None:
            mask = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
        if mask.shape != values.shape[:2]:
            raise ValueError(
                f"{name}_mask has shape {tuple(mask.shape)}; {name} has {tuple(values.shape)}, "
                f"so the mask must be {tuple(values.shape[:2])}"
            )
        grouped[name] = Modality(values, mask.bool())
    return grouped
