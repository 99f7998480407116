"""Product of experts: every modality gives a mean and how sure it is of it; the surer ones count for more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mmbook.fusion.inputs import upcast
from mmbook.fusion.vectors import Vectors, over_tokens
from mmbook.modality import Modality
from mmbook.registry import register


@register
class ProductOfExperts(nn.Module):
    """The mean of a product of Gaussians: one for each modality present, and the prior N(0, 1).

    From its normalised mean over real tokens each modality gives, for each number of the fused vector, a mean
    ``mu_m`` and a log precision ``log t_m`` (precision is one over variance). A product of Gaussians is a
    Gaussian whose precision is the sum of the precisions, and whose mean is

        ``z = sum_m t_m mu_m / (1 + sum_m t_m)``, the sums running over the modalities that are present.

    The 1 is the prior expert's. A missing modality has no expert: that is all there is to do, and without any
    modality the prior's mean 0 remains.

    Args:
        dims: name -> width of that modality's features.
        out_dim: width of the fused vector.
        dropout: share of the normalised means zeroed in training.

    Source: Hinton (2002), *Training Products of Experts by Minimizing Contrastive Divergence*,
    https://doi.org/10.1162/089976602760128018; with a prior expert and missing modalities, Wu and Goodman
    (2018), https://arxiv.org/abs/1802.05335.
    """

    def __init__(self, dims: dict[str, int], out_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dims, self.out_dim = dict(dims), out_dim
        self.experts = Vectors(dims, 2 * out_dim, dropout)

    def forward(self, inputs: Mapping[str, Modality], return_weights: bool = False) -> Any:
        """Fuse features ``{name: (B, T, D)}`` to ``(B, out_dim)``.

        With `return_weights`, also ``{name: (B, T)}``: each modality's share of the precisions without the
        prior's, averaged over the numbers of the fused vector and spread evenly over its real tokens.
        """
        experts, real = self.experts(inputs)  # (B, M, 2 out_dim), (B, M)
        means, log_precisions = upcast(experts).chunk(2, dim=-1)
        fused, _ = product(means, log_precisions, real)
        if not return_weights:
            return fused
        own = log_precisions.exp().masked_fill(~real[..., None], 0)
        shares = own / own.sum(dim=1, keepdim=True).clamp(min=1e-12)  # (B, M, out_dim)
        return fused, over_tokens(shares.mean(dim=-1), inputs, self.dims)


def product(means: Tensor, log_precisions: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """The product of Gaussian experts and the prior N(0, 1).

    Args:
        means, log_precisions: ``(B, M, D)``.
        real: ``(B, M)`` bool, which experts take part.

    Returns:
        Mean and precision of the product, each ``(B, D)``.
    """
    precisions = log_precisions.exp().masked_fill(~real[..., None], 0)
    precision = 1 + precisions.sum(dim=1)
    return (precisions * means).sum(dim=1) / precision, precision
