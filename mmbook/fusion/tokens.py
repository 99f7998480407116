"""Tokens of one width, with their places: what the fusions start from that look at every token."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmbook.fusion.inputs import complete, norm
from mmbook.modality import Modality

POSITIONS = ("none", "index", "time")


class Tokens(nn.Module):
    """Every modality's tokens, normalised and projected to one width, plus a code of their place.

    The bias of a modality's projection is added to all its tokens: it is the modality embedding, by which
    later layers tell the modalities apart.

    Args:
        dims: name -> width of that modality's features.
        width: of the output tokens.
        positions: ``"none"``: the tokens are a set. ``"index"``: token t of each modality has place t.
            ``"time"``: its place is the share of the modality's own real length that has passed in its
            middle, so that two recordings of one event line up even if one has more steps a second.
        dropout: share of the result zeroed in training.

    Raises:
        ValueError: another value of `positions`.
    """

    def __init__(self, dims: Mapping[str, int], width: int, positions: str, dropout: float) -> None:
        super().__init__()
        if positions not in POSITIONS:
            raise ValueError(f"positions is {positions!r}; choose one of {', '.join(POSITIONS)}")
        self.dims, self.width, self.positions = dict(dims), width, positions
        self.project = projections(dims, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, inputs: Mapping[str, Modality]) -> dict[str, Modality]:
        """Tokens ``(B, T, width)`` of every modality of `dims`, in that order; zero under the mask."""
        tokens = {}
        for name, modality in complete(inputs, self.dims).items():
            x = self.project[name](modality.values)
            if self.positions != "none":
                x = x + sinusoids(places(modality.mask, self.positions), self.width).to(x.dtype)
            tokens[name] = Modality(self.dropout(x), modality.mask).cleaned()
        return tokens


def projections(dims: Mapping[str, int], width: int) -> nn.ModuleDict:
    """For each modality a norm and a linear layer that bring its features to `width`."""
    return nn.ModuleDict(
        {name: nn.Sequential(norm(dim), nn.Linear(dim, width)) for name, dim in dims.items()}
    )


def places(mask: Tensor, positions: str) -> Tensor:
    """The place of each token ``(B, T)``: its index among the real ones, or 100 times the share of time.

    Counted over real tokens only, so that padding on either side moves nothing. The hundred brings shares
    into the range in which the sinusoids differ.
    """
    index = mask.cumsum(dim=1) - 1  # (B, T); what stands under the mask is not used
    if positions == "index":
        return index.float()
    return 100 * (index + 0.5) / mask.sum(dim=1, keepdim=True).clamp(min=1)


def sinusoids(place: Tensor, width: int) -> Tensor:
    """``(B, T)`` to ``(B, T, width)``: sine and cosine of the place at wavelengths from 6 to 60,000.

    Source: Vaswani et al. (2017), *Attention Is All You Need*, https://arxiv.org/abs/1706.03762.
    """
    rates = torch.exp(-math.log(10_000.0) * torch.arange(0, width, 2, device=place.device) / width)
    angles = place[..., None] * rates  # (B, T, width / 2)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)[..., :width]


def joined(tokens: Mapping[str, Modality]) -> Modality:
    """All tokens of all modalities in one row: ``(B, sum of T, D)`` and its mask."""
    return Modality(
        torch.cat([m.values for m in tokens.values()], dim=1),
        torch.cat([m.mask for m in tokens.values()], dim=1),
    )
