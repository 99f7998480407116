"""Models that start from features: encode once, then train fusions and heads on the result.

An encoder that is frozen gives the same features in every epoch, for every fusion and every seed. Computing
them once makes a comparison of many fusions cheap, and fair: all of them see the very same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mmbook.answers import evaluating
from mmbook.data.arrays import ArrayDataset, from_arrays
from mmbook.fusion import build_fusion
from mmbook.heads import Classification, Regression
from mmbook.modality import Modality, pad
from mmbook.models.multimodal import MultimodalModel
from mmbook.registry import register

STRETCH = 1.5  # items that go through an encoder together differ in length by this factor at most


def encode_dataset(
    encoders: Mapping[str, nn.Module], dataset: Dataset, *, batch_size: int = 64
) -> ArrayDataset:
    """Run each encoder over a dataset once.

    Args:
        encoders: name -> encoder; used in eval mode, on the device where its parameters are. Wrapped in
            `mmbook.encoders.Pooled` it gives one vector a sample, else all its tokens are kept.
        dataset: rows as `mmbook.collate` takes them, with labels. A modality without an encoder is passed
            over.
        batch_size: the most samples that are in memory, and that an encoder sees, at once.

    Returns:
        Features as a dataset in memory, on the CPU, in the order of `dataset`; where a sample lacks a
        modality, its length is 0.
    """
    found: dict[str, list[Tensor | None]] = {name: [] for name in encoders}
    labels = []
    with evaluating(*encoders.values()):
        for rows in DataLoader(dataset, batch_size, collate_fn=list):
            labels += [torch.as_tensor(row["labels"]) for row in rows]
            for name, encoder in encoders.items():
                found[name] += _encode(encoder, [row.get(name) for row in rows], name)
    arrays, lengths = {}, {}
    for name, each in found.items():
        if all(one is None for one in each):
            raise ValueError(f"no sample of the dataset has {name!r}; leave its encoder out")
        arrays[name], mask = pad(each, name)
        lengths[name] = mask.sum(dim=1)
    return from_arrays(arrays, torch.stack(labels), lengths)


def _encode(encoder: nn.Module, items: Sequence[Tensor | None], name: str) -> list[Tensor | None]:
    """What the encoder says of each item; items of like length go through it together: little is padded."""
    sizes = {i: len(item) for i, item in enumerate(items) if item is not None and len(item)}
    found: list[Tensor | None] = [None] * len(items)
    for chosen in _alike(sizes):
        values, mask = pad([items[i] for i in chosen], name)
        device = next(encoder.parameters(), values).device
        answer = encoder(Modality(values.to(device), mask.to(device)))
        values, mask = answer.values.float().cpu(), answer.mask.cpu()
        for row, i in enumerate(chosen):
            found[i] = values[row, mask[row]] if mask[row].any() else None
    return found


def _alike(sizes: Mapping[int, int]) -> list[list[int]]:
    """The keys in groups of which the longest is at most `STRETCH` times the shortest, the shortest first."""
    groups: list[list[int]] = []
    for i in sorted(sizes, key=sizes.__getitem__):
        if not groups or sizes[i] > STRETCH * sizes[groups[-1][0]]:
            groups.append([])
        groups[-1].append(i)
    return groups


@register
class Features(nn.Module):
    """The encoder that does nothing: its input is features ``(B, T, out_dim)`` already."""

    reads = "features"

    def __init__(self, out_dim: int) -> None:
        super().__init__()
        self.out_dim = out_dim

    def forward(self, modality: Modality) -> Modality:
        return modality.cleaned()


def fusion_on_features(
    dims: Mapping[str, int],
    fusion: str,
    *,
    num_classes: int | None = None,
    num_targets: int | None = None,
    width: int | None = None,
    hidden: int | None = None,
    **options: Any,
) -> MultimodalModel:
    """A model over features that are already there (see `mmbook.data.from_arrays`): a fusion and a head.

    Args:
        dims: name -> width of that modality's features.
        fusion: a key of ``mmbook.fusion.FUSIONS``.
        num_classes: for classification; exactly one of this and `num_targets` (regression).
        width: of the fused vector; None is 64. Not for ``"late"``, which gives the logits itself, so that its
            head is the identity.
        hidden: width of a hidden layer in the head; None for a linear head. Not for ``"late"``.
        options: passed to `mmbook.fusion.build_fusion`: ``missing``, ``modality_dropout``, and the fusion's
            own.

    Raises:
        ValueError: an unknown fusion, both or neither of `num_classes` and `num_targets`, or `width` or
            `hidden` for ``"late"``.
    """
    if (num_classes is None) == (num_targets is None):
        raise ValueError(
            f"give exactly one of num_classes (got {num_classes}) and num_targets (got {num_targets})"
        )
    late = fusion == "late"
    if late and (width is not None or hidden is not None):
        raise ValueError(
            f"fusion 'late' averages the modalities' own logits, with nothing after it, so it takes no width "
            f"(got {width}) and no hidden (got {hidden}); leave them out"
        )
    width = 64 if width is None else width
    head: nn.Module
    if num_classes is not None:
        dim = num_classes if late else width
        head = Classification(dim, num_classes, hidden, linear=not late)
    else:
        targets = num_targets or 1
        dim = targets if late else width
        head = Regression(dim, targets, hidden, linear=not late)
    joined = build_fusion(fusion, dict(dims), dim, **options)
    return MultimodalModel({name: Features(dim) for name, dim in dims.items()}, joined, head)
