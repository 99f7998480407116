"""Contrastive alignment: a loss beside the task's that brings the modalities of one sample close together."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from mmbook.fusion.vectors import Vectors
from mmbook.losses import info_nce, sigmoid_contrastive
from mmbook.modality import Modality
from mmbook.protocols import Fusion
from mmbook.registry import register

LOSSES = ("info_nce", "sigmoid")


@register
class Aligned(nn.Module):
    """A fusion, unchanged, that adds a contrastive loss between its modalities while it trains.

    Each modality's normalised mean over real tokens is projected into one space of `width`. For each pair of
    modalities, among the rows of the batch that have both, the two vectors of one row shall be closer than
    those of different rows. `mmbook.MultimodalModel` adds this loss in training; the trainer compares all
    rows of a batch with each other, into however many parts and processes it was cut.

    Args:
        fusion: any of ``mmbook.fusion.FUSIONS``, also inside of `mmbook.fusion.Missing`.
        width: of the common space.
        weight: of the loss beside the task's.
        loss: ``"info_nce"`` or ``"sigmoid"``; see `mmbook.losses`.
        temperature: of ``"info_nce"``. ``"sigmoid"`` learns its scale and bias instead, from 10 and -10.

    Raises:
        ValueError: another value of `loss`.

    Source: Li et al. (2021), *Align before Fuse*, https://arxiv.org/abs/2107.07651.
    """

    def __init__(
        self,
        fusion: Fusion,
        width: int = 32,
        weight: float = 0.1,
        loss: str = "info_nce",
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        if loss not in LOSSES:
            raise ValueError(f"loss is {loss!r}; choose one of {', '.join(LOSSES)}")
        self.fusion, self.weight, self.loss, self.temperature = fusion, weight, loss, temperature
        self.dims, self.out_dim = dict(fusion.dims), fusion.out_dim
        self.vectors = Vectors(self.dims, width)
        if loss == "sigmoid":
            self.log_scale = nn.Parameter(torch.tensor(10.0).log())
            self.bias = nn.Parameter(torch.tensor(-10.0))

    def forward(self, inputs: Mapping[str, Modality], return_weights: bool = False) -> Any:
        """What the fusion gives."""
        return self.fusion(inputs, return_weights)

    def embeddings(self, features: Mapping[str, Modality]) -> dict[str, Tensor]:
        """What `contrast` needs of each row: "u" ``(B, M, width)``, and "real" ``(B, M)``, what it has.

        Args:
            features: what the fusion gets.
        """
        u, real = self.vectors(features)
        return {"u": u, "real": real}

    def contrast(self, embeddings: Mapping[str, Tensor]) -> Tensor:
        """`weight` times the mean contrastive loss over the pairs of modalities that two rows or more have.

        Args:
            embeddings: of all rows that are compared, from `embeddings`.

        Returns:
            Scalar; zero (but of every parameter here) where no pair of modalities has two rows.
        """
        u, real = embeddings["u"], embeddings["real"]
        losses = []
        for a, b in combinations(range(len(self.dims)), 2):
            both = real[:, a] & real[:, b]
            if both.sum() > 1:
                losses.append(self._contrast(u[both, a], u[both, b]))
        # distributed training waits for every parameter
        touched = 0 * (u.sum() + sum(p.sum() for p in self.parameters(recurse=False)))
        return self.weight * torch.stack(losses).mean() + touched if losses else touched

    def auxiliary_loss(self, features: Mapping[str, Modality], labels: Tensor | None = None) -> Tensor:
        """The loss that `mmbook.MultimodalModel` adds in training: `contrast` of the `embeddings`."""
        return self.contrast(self.embeddings(features))

    def _contrast(self, a: Tensor, b: Tensor) -> Tensor:
        if self.loss == "info_nce":
            return info_nce(a.float(), b.float(), self.temperature)
        return sigmoid_contrastive(a.float(), b.float(), self.log_scale.exp(), self.bias)
