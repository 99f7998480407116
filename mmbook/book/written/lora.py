"""LoRA: fine-tune a large network by small matrices beside its frozen weights."""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmbook.encoders.wrappers import Wrapper
from mmbook.registry import register


class LoRALinear(nn.Module):
    """``W x + b + (alpha / rank) up(down(dropout(x)))``: a frozen linear layer and a trained one of low rank.

    `up` begins as zeros, so at first nothing changes; `down` as a linear layer of torch does. Trained are
    ``rank * (in + out)`` numbers instead of ``in * out``.

    Args:
        linear: frozen here, and kept as it is.
        rank: of the change, at least 1.
        alpha: the change is multiplied by ``alpha / rank``, so that one learning rate fits several ranks.
        dropout: on the input of `down`, in training.

    Raises:
        ValueError: a rank below 1.

    Source: Hu et al. (2022), *LoRA: Low-Rank Adaptation of Large Language Models*,
    https://arxiv.org/abs/2106.09685.
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float, dropout: float = 0.0) -> None:
        super().__init__()
        if rank < 1:
            raise ValueError(f"rank is {rank}; it must be at least 1")
        self.linear = linear.requires_grad_(False)
        self.scale, self.dropout = alpha / rank, nn.Dropout(dropout)
        w = linear.weight
        self.down = nn.Parameter(w.new_empty(rank, linear.in_features))
        self.up = nn.Parameter(w.new_zeros(linear.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        change = F.linear(
            F.linear(self.dropout(x), self.down), self.up
        )  # (..., in) -> (..., rank) -> (..., out)
        return self.linear(x) + self.scale * change

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """One linear layer that does the same (without dropout) and costs no more than the old one."""
        found = nn.Linear(self.linear.in_features, self.linear.out_features, self.linear.bias is not None)
        found = found.to(self.linear.weight)
        found.weight.copy_(self.linear.weight + self.scale * self.up @ self.down)
        if self.linear.bias is not None:
            found.bias.copy_(self.linear.bias)
        return found


def add_lora(
    module: nn.Module, rank: int = 8, alpha: float = 16, targets: str = "qkv", dropout: float = 0.0
) -> int:
    """Freeze `module` and put a `LoRALinear` in the place of every linear layer whose name fits.

    Args:
        module: changed in place.
        rank, alpha, dropout: of `LoRALinear`.
        targets: a regular expression, searched for in the layer's full name: "qkv" fits the attention's
            projections in each block of `mmbook.encoders.Bert`, ``"qkv|out|expand|contract"`` all of a
            block, and ``r"blocks\\.5\\."`` the last of six blocks.

    Returns:
        How many layers were replaced.

    Raises:
        ValueError: no layer's name fits.
    """
    names = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]
    chosen = [name for name in names if re.search(targets, name)]
    if not chosen:
        raise ValueError(f"no linear layer's name fits {targets!r}; there are {', '.join(names)}")
    module.requires_grad_(False)
    for name in chosen:
        _put(module, name, LoRALinear(module.get_submodule(name), rank, alpha, dropout))  # type: ignore[arg-type]
    return len(chosen)


def merge_lora(module: nn.Module) -> nn.Module:
    """`module` itself, every `LoRALinear` in it merged into one linear layer (frozen like the rest of it)."""
    found = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, LoRALinear)]
    for name, layer in found:
        _put(module, name, layer.merged().requires_grad_(False))
    return module


def _put(module: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(module.get_submodule(parent), last, layer)


@register
class LoRA(Wrapper):
    """Wrap an encoder so that only its LoRA matrices are trained: ``LoRA(Bert.minilm(), rank=4)``.

    Like every encoder it has a config, so a model with it can be saved and loaded.

    Args:
        encoder: frozen, and changed in place.
        rank, alpha, targets, dropout: see `add_lora`.
    """

    def __init__(
        self,
        encoder: nn.Module,
        rank: int = 8,
        alpha: float = 16,
        targets: str = "qkv",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(encoder)
        add_lora(encoder, rank, alpha, targets, dropout)

    def merged(self) -> nn.Module:
        """The plain encoder with what was learned folded into its weights; this wrapper is empty then."""
        return merge_lora(self.encoder)
