"""Bottleneck fusion: the modalities exchange what they know through a few tokens, and no other way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmbook.fusion.tokens import Tokens, joined
from mmbook.fusion.transformer import Block
from mmbook.modality import Modality
from mmbook.registry import register

SEES = ("bottleneck", "modality", "all")


@register
class Bottleneck(nn.Module):
    """Each modality has transformer blocks of its own; between them travel `bottlenecks` shared tokens.

    In a layer each modality's copy of the bottleneck tokens looks at that modality's tokens and at itself;
    the copies are averaged over the modalities present, and are the next layer's bottleneck. What a
    modality's own tokens may look at is the dial `sees`:

    - ``"bottleneck"``: the bottleneck tokens only. Time and memory grow as the number of tokens. The encoders
      have mixed each modality's tokens already.
    - ``"modality"``: also each other, as in the paper; time grows with the square of a modality's length.
    - ``"all"``: also the tokens of the other modalities. With ``bottlenecks=0`` and the same weights in all
      modalities' blocks this is `SelfAttention` exactly.

    The result is the mean over all real tokens, the bottleneck's included. In the first layer only the
    bottleneck has seen more than one modality, so take at least two.

    Args:
        dims: name -> width of that modality's features.
        out_dim: width of the fused vector.
        bottlenecks: number of shared tokens; at least 1, or 0 with ``sees="all"``.
        sees: what a modality's tokens look at.
        layers, heads: blocks a modality, and attention heads in each.
        inner_width: of the tokens, a multiple of `heads`; None takes `out_dim`, rounded up to one.
        positions: ``"none"``, ``"index"`` or ``"time"``; see `mmbook.fusion.tokens.Tokens`.
        dropout: share of the projected features, and of each addition, zeroed in training.

    Raises:
        ValueError: another value of `sees` or `positions`, too few bottlenecks, widths and heads that do not
            fit.

    Source: Nagrani et al. (2021), *Attention Bottlenecks for Multimodal Fusion*,
    https://arxiv.org/abs/2107.00135.
    """

    def __init__(
        self,
        dims: dict[str, int],
        out_dim: int,
        bottlenecks: int = 4,
        sees: str = "bottleneck",
        layers: int = 2,
        heads: int = 4,
        inner_width: int | None = None,
        positions: str = "index",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if sees not in SEES:
            raise ValueError(f"sees is {sees!r}; choose one of {', '.join(SEES)}")
        if bottlenecks < (sees != "all"):
            raise ValueError(f"bottlenecks is {bottlenecks}; the modalities need at least 1 to meet in")
        self.dims, self.out_dim, self.sees = dict(dims), out_dim, sees
        width = -(-out_dim // heads) * heads if inner_width is None else inner_width
        self.tokens = Tokens(dims, width, positions, dropout)
        self.shared = nn.Parameter(torch.randn(1, bottlenecks, width) * 0.02)
        self.layers = nn.ModuleList(
            nn.ModuleDict({name: Block(width, heads, dropout) for name in dims}) for _ in range(layers)
        )
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, out_dim)

    def forward(self, inputs: Mapping[str, Modality], return_weights: bool = False) -> Any:
        """Fuse features ``{name: (B, T, D)}`` to ``(B, out_dim)``; with `return_weights`, also ``{}``."""
        tokens = self.tokens(inputs)
        some = next(iter(tokens.values())).values
        z = self.shared.expand(some.shape[0], -1, -1).to(some.dtype)  # (B, bottlenecks, width)
        real = torch.stack([m.mask.any(dim=1) for m in tokens.values()], dim=1)  # (B, M)
        for blocks in self.layers:
            tokens, z = self._layer(blocks, tokens, z, real)  # type: ignore[arg-type]
        x, mask = joined(tokens)
        # a row without any modality has no tokens, and the bottleneck has read nothing
        x, mask = torch.cat([x, z], dim=1), torch.cat([mask, _all(z)], dim=1)
        fused = self.out(Modality(self.norm(x), mask).pooled())
        return (fused, {}) if return_weights else fused

    def _layer(
        self, blocks: nn.ModuleDict, tokens: Mapping[str, Modality], z: Tensor, real: Tensor
    ) -> tuple[dict[str, Modality], Tensor]:
        """One layer: the tokens of every modality, and the bottleneck averaged over those present."""
        everything = joined(tokens)
        moved, copies = {}, []
        for name, (x, mask) in tokens.items():
            own, own_mask = torch.cat([x, z], dim=1), torch.cat([mask, _all(z)], dim=1)
            if self.sees == "bottleneck":
                seen, seen_mask = z, _all(z)
            elif self.sees == "modality":
                seen, seen_mask = own, own_mask
            else:
                seen = torch.cat([everything.values, z], dim=1)
                seen_mask = torch.cat([everything.mask, _all(z)], dim=1)
            moved[name] = Modality(blocks[name](x, seen_mask, seen), mask)
            copies.append(blocks[name](z, own_mask, own))  # (B, bottlenecks, width)
        share = real / real.sum(dim=1, keepdim=True).clamp(min=1)  # (B, M), zero where absent
        together = torch.einsum("bm,mbnd->bnd", share.to(z.dtype), torch.stack(copies))
        return moved, together


def _all(z: Tensor) -> Tensor:
    """A mask of True for tokens ``(B, N, D)``."""
    return torch.ones(z.shape[:2], dtype=torch.bool, device=z.device)
