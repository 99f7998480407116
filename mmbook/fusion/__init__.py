"""Ways to make one vector of several modalities, all under one contract (see CONTRIBUTING.md).

Every fusion is ``cls(dims: dict[str, int], out_dim: int, **options)`` and maps ``dict[str, Modality]`` to
``(B, out_dim)``, whatever is missing or padded.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from mmbook.fusion.attention import Attention
from mmbook.fusion.concat import Concat

__all__ = ["FUSIONS", "Attention", "Concat", "build_fusion"]

FUSIONS: dict[str, type[nn.Module]] = {"concat": Concat, "attention": Attention}


def build_fusion(name: str, dims: dict[str, int], out_dim: int, **options: Any) -> nn.Module:
    """The fusion called `name`, one of ``FUSIONS``.

    Raises:
        ValueError: an unknown name; the message lists the known ones.
    """
    if name not in FUSIONS:
        raise ValueError(f"unknown fusion {name!r}; choose one of {', '.join(FUSIONS)}")
    return FUSIONS[name](dims, out_dim, **options)
