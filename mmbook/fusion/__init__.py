"""Ways to make one vector of several modalities, all under one contract (see CONTRIBUTING.md).

Every fusion is ``cls(dims: dict[str, int], out_dim: int, **options)`` and maps ``dict[str, Modality]`` to
``(B, out_dim)``, whatever is missing or padded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmbook.fusion.align import Aligned
from mmbook.fusion.attention import Attention
from mmbook.fusion.bilinear import Bilinear
from mmbook.fusion.bottleneck import Bottleneck
from mmbook.fusion.concat import Concat
from mmbook.fusion.cross_attention import CrossAttention
from mmbook.fusion.film import FiLM
from mmbook.fusion.gated import Gated
from mmbook.fusion.late import Late
from mmbook.fusion.low_rank import LowRank
from mmbook.fusion.mean import Mean
from mmbook.fusion.missing import Missing
from mmbook.fusion.product_of_experts import ProductOfExperts
from mmbook.fusion.self_attention import SelfAttention
from mmbook.fusion.tensor import TensorFusion
from mmbook.protocols import Fusion

__all__ = [
    "FUSIONS", "Aligned", "Attention", "Bilinear", "Bottleneck", "Concat", "CrossAttention", "FiLM", "Gated",
    "Late", "LowRank", "Mean", "Missing", "ProductOfExperts", "SelfAttention", "TensorFusion", "build_fusion",
]  # fmt: skip

FUSIONS: dict[str, Callable[..., Fusion]] = {
    "concat": Concat,
    "mean": Mean,
    "late": Late,
    "gated": Gated,
    "attention": Attention,
    "self_attention": SelfAttention,
    "cross_attention": CrossAttention,
    "bottleneck": Bottleneck,
    "tensor": TensorFusion,
    "low_rank": LowRank,
    "bilinear": Bilinear,
    "film": FiLM,
    "product_of_experts": ProductOfExperts,
}


def build_fusion(
    name: str,
    dims: dict[str, int],
    out_dim: int,
    missing: str | None = None,
    modality_dropout: float = 0.0,
    **options: Any,
) -> Fusion:
    """The fusion called `name`, one of ``FUSIONS``.

    Args:
        name: a key of ``FUSIONS``.
        dims: name -> width of that modality's features.
        out_dim: width of the fused vector.
        missing: what stands in the gap where a row lacks a modality: ``"zeros"``, ``"mean"``, ``"learned"``;
            None leaves the gap to the fusion's own masks. See `Missing`.
        modality_dropout: probability with which each present modality of each row is left out in training.
        options: of the fusion.

    Raises:
        ValueError: an unknown name; the message lists the known ones. What `Missing` or the fusion refuses.
    """
    if name not in FUSIONS:
        raise ValueError(f"unknown fusion {name!r}; choose one of {', '.join(FUSIONS)}")
    fusion = FUSIONS[name](dims, out_dim, **options)
    if missing is None and modality_dropout == 0:
        return fusion
    return Missing(fusion, missing, modality_dropout)
