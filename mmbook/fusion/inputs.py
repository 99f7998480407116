"""The inputs of a fusion: every modality in a fixed order, absent ones filled in, padding overwritten."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mmbook.modality import Modality


def complete(inputs: Mapping[str, Modality], dims: Mapping[str, int]) -> dict[str, Modality]:
    """Every modality of `dims`, in the order of `dims`, with zeros under the mask.

    A modality that the batch lacks altogether becomes one unreal token per sample, so that its parameters
    still take part in the computation (with zero gradient): distributed training waits for every parameter.

    Args:
        inputs: features ``(B, T, D)`` with their masks ``(B, T)``; any subset of `dims`, in any order.
        dims: name -> width D.

    Raises:
        ValueError: no input at all, a name that is not in `dims`, or a width that differs from `dims`.
    """
    if not inputs:
        raise ValueError(f"the batch holds none of the modalities {', '.join(dims)}; it needs at least one")
    for name, modality in inputs.items():
        if name not in dims:
            raise ValueError(f"unknown modality {name!r}; this fusion was made for {', '.join(dims)}")
        if modality.values.dim() != 3 or modality.values.shape[-1] != dims[name]:
            raise ValueError(
                f"{name!r} has shape {tuple(modality.values.shape)}; this fusion takes (B, T, {dims[name]})"
            )
    some = next(iter(inputs.values()))
    batch = some.values.shape[0]
    completed = {}
    for name, dim in dims.items():
        if name in inputs:
            completed[name] = inputs[name].cleaned()
        else:
            nothing = torch.zeros(batch, 1, dtype=torch.bool, device=some.mask.device)
            completed[name] = Modality(some.values.new_zeros(batch, 1, dim), nothing)
    return completed


def norm(dim: int) -> nn.Module:
    """Layer norm for features of width `dim`, so that no modality drowns the others by its scale.

    Below three numbers it would destroy what it normalises (of one number it leaves nothing, of two only
    which is larger), so those pass unchanged.
    """
    return nn.LayerNorm(dim) if dim > 2 else nn.Identity()


def upcast(x: Tensor) -> Tensor:
    """At least float32, in which exponentials and sums over many numbers belong; float64 stays."""
    return x if x.dtype == torch.float64 else x.float()
