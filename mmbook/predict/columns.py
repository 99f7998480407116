"""Logits as columns of a table: the class, its probability, numbers, weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmbook.heads import Classification, Regression
from mmbook.modality import Modality, collate
from mmbook.models import MultimodalModel


def answer_columns(model: MultimodalModel) -> list[str]:
    """The names of the columns, known before the first sample is.

    Raises:
        ValueError: a head whose answers have no columns of this kind.
    """
    if isinstance(model.head, Classification):
        columns = ["label", *(f"p_{name}" for name in class_names(model))]
    elif isinstance(model.head, Regression):
        count = model.head.num_targets
        columns = ["value"] if count == 1 else [f"value_{k}" for k in range(count)]
    else:
        raise ValueError(
            f"the head is {type(model.head).__name__}; tables are made for Classification and Regression"
        )
    return columns + [f"weight_{name}" for name in model.encoders if _gives_weights(model)]


@torch.no_grad()
def answers(model: MultimodalModel, rows: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Any]]:
    """A dict of `answer_columns` for each of `rows` ``{name: Tensor}``, which make one batch."""
    if not rows:
        return []
    training, device = model.training, next(model.parameters()).device
    model.eval()
    output = model(**{key: value.to(device) for key, value in collate(rows).items()})
    model.train(training)
    assert output.logits is not None
    columns: list[list[Any]] = []
    if isinstance(model.head, Classification):
        probabilities = output.logits.float().softmax(dim=-1)  # (B, classes)
        names = class_names(model)
        columns.append([names[k] for k in probabilities.argmax(dim=-1).tolist()])
        columns += probabilities.T.tolist()
    else:
        columns += output.logits.float().T.tolist()
    if output.attentions:
        columns += [output.attentions[name].float().sum(dim=1).tolist() for name in model.encoders]
    names = answer_columns(model)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def class_names(model: MultimodalModel) -> list[str]:
    """The model's classes; their numbers where it has no names."""
    return model.classes or [str(k) for k in range(int(model.head.num_classes))]  # type: ignore[arg-type]


@torch.no_grad()
def _gives_weights(model: MultimodalModel) -> bool:
    """Whether the fusion has weights, asked of the fusion itself."""
    dims: Any = model.fusion.dims
    device = next(model.parameters()).device
    real = torch.ones(1, 1, dtype=torch.bool, device=device)
    nothing = {name: Modality(torch.zeros(1, 1, dim, device=device), real) for name, dim in dims.items()}
    return bool(model.fusion(nothing, return_weights=True)[1])
