"""Models that start from features: encode once, then train fusions and heads on the result.

An encoder that is frozen gives the same features in every epoch, for every fusion and every seed. Computing
them once makes a comparison of many fusions cheap, and fair: all of them see the very same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mmbook.data.arrays import ArrayDataset, from_arrays
from mmbook.fusion import build_fusion
from mmbook.heads import Classification, Regression
from mmbook.modality import Modality, collate, group, pad
from mmbook.models.multimodal import MultimodalModel
from mmbook.registry import register


@torch.no_grad()
def encode_dataset(
    encoders: Mapping[str, nn.Module], dataset: Dataset, *, batch_size: int = 64
) -> ArrayDataset:
    """Run each encoder over a dataset once.

    Args:
        encoders: name -> encoder; used in eval mode, on the device where its parameters are. Wrapped in
            `mmbook.encoders.Pooled` it gives one vector a sample, else all its tokens are kept.
        dataset: rows as `mmbook.collate` takes them, with labels.

    Returns:
        Features as a dataset in memory, on the CPU, in the order of `dataset`; where a sample lacks a
        modality, its length is 0.
    """
    found: dict[str, list[torch.Tensor | None]] = {name: [] for name in encoders}
    labels = []
    modes = {name: encoder.training for name, encoder in encoders.items()}
    for encoder in encoders.values():
        encoder.eval()
    for batch in DataLoader(dataset, batch_size=batch_size, collate_fn=collate):
        labels.append(batch["labels"])
        encoded = {}
        for name, modality in group(batch, list(encoders)).items():
            device = next(encoders[name].parameters(), modality.values).device
            encoded[name] = encoders[name](Modality(*(x.to(device) for x in modality)))
        for name in encoders:
            found[name] += _rows(encoded[name]) if name in encoded else [None] * len(batch["labels"])
    for name, encoder in encoders.items():
        encoder.train(modes[name])
    arrays, lengths = {}, {}
    for name, rows in found.items():
        if all(row is None for row in rows):
            raise ValueError(f"no sample of the dataset has {name!r}; leave its encoder out")
        arrays[name], mask = pad(rows, name)
        lengths[name] = mask.sum(dim=1)
    return from_arrays(arrays, torch.cat(labels), lengths)


def _rows(modality: Modality) -> list[torch.Tensor | None]:
    values, mask = modality.values.float().cpu(), modality.mask.cpu()
    return [values[i, mask[i]] if mask[i].any() else None for i in range(len(values))]


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
