"""Low-rank fusion: tensor fusion whose layer is a sum of few products, and whose tensor is never made."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from mmbook.fusion.tensor import TensorFusion, augmented
from mmbook.fusion.vectors import Vectors
from mmbook.modality import Modality
from mmbook.registry import register


@register
class LowRank(nn.Module):
    """``z = sum_r prod_m ([u_m; 1] F_mr)``, the products number by number.

    The factors ``F_mr`` are ``(inner_width + 1, out_dim)``.

    This is tensor fusion with the layer ``W = sum_r F_1r x F_2r x ... x F_Mr``. Its cost grows with the
    number of modalities as M, and not as a power of it. Every tensor has such a form if the rank is large
    enough: the product of all augmented widths but the largest suffices (`from_tensor` builds it). A missing
    modality leaves the row of its constant 1, as in `TensorFusion`.

    The paper weighs the products and adds a bias; both are left out, since the factors hold them already.

    Args:
        dims: name -> width of that modality's features.
        out_dim: width of the fused vector.
        inner_width: of every ``u_m``, the linear projection of a normalised mean over real tokens.
        rank: number of products in the sum.
        dropout: share of the normalised means zeroed in training.

    Source: Liu et al. (2018), *Efficient Low-rank Multimodal Fusion with Modality-Specific Factors*,
    https://arxiv.org/abs/1806.00064.
    """

    def __init__(
        self, dims: dict[str, int], out_dim: int, inner_width: int = 16, rank: int = 8, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if rank < 1:
            raise ValueError(f"rank is {rank}; it must be at least 1")
        self.dims, self.out_dim = dict(dims), out_dim
        self.vectors = Vectors(dims, inner_width, dropout)
        # a plain list of tensors would be neither trained nor saved
        self.factors = nn.ParameterDict(
            {name: nn.Parameter(torch.empty(rank, inner_width + 1, out_dim)) for name in dims}
        )
        for factor in self.factors.values():
            # so that the sum of `rank` products of M of these is of order one
            nn.init.normal_(factor, std=(inner_width + 1) ** -0.5 * rank ** (-0.5 / len(dims)))

    def forward(self, inputs: Mapping[str, Modality], return_weights: bool = False) -> Any:
        """Fuse features ``{name: (B, T, D)}`` to ``(B, out_dim)``; with `return_weights`, also ``{}``."""
        u = augmented(self.vectors(inputs)[0]).unbind(dim=1)  # M of (B, inner_width + 1)
        # by name: the values of a ParameterDict come in alphabetical order
        read = [torch.einsum("bi,rio->bro", x, self.factors[n]) for n, x in zip(self.dims, u, strict=True)]
        fused = functools.reduce(torch.mul, read).sum(dim=1)  # M of (B, rank, out_dim) -> (B, out_dim)
        return (fused, {}) if return_weights else fused

    @classmethod
    def from_tensor(cls, tensor: TensorFusion) -> LowRank:
        """The low-rank form of a `TensorFusion`, equal to it, of full rank ``(inner_width + 1) ** (M - 1)``.

        One product for each choice j of a number from all modalities but the last: their factors pick these
        numbers (they are 0 and 1), and the last one's is the slice ``W[j]`` of the tensor.
        """
        config: dict[str, Any] = tensor.config  # type: ignore[assignment]
        names, width = list(tensor.dims), config["inner_width"] + 1
        rank = width ** (len(names) - 1)
        made = cls(tensor.dims, tensor.out_dim, config["inner_width"], rank, config["dropout"])
        made.vectors = copy.deepcopy(tensor.vectors)
        weight = tensor.linear.weight.detach()  # (out_dim, width ** M), the last modality runs fastest
        made = made.to(weight)
        choice = torch.arange(rank, device=weight.device)
        with torch.no_grad():
            for m, name in enumerate(names[:-1]):
                picked = choice // width ** (len(names) - 2 - m) % width  # (rank,) which number of modality m
                one_hot = nn.functional.one_hot(picked, width).to(weight)  # (rank, width)
                made.factors[name].copy_(one_hot[..., None].expand(-1, -1, tensor.out_dim))
            made.factors[names[-1]].copy_(weight.T.reshape(rank, width, tensor.out_dim))
        return made.train(tensor.training)
