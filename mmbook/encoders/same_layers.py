"""Are two networks made of the same layers, the weights apart?"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn


def check_same(ours: Mapping[str, nn.Module], theirs: Mapping[str, nn.Module]) -> None:
    """Compare layer by layer what ``print`` shows: type, sizes, stride, padding, dilation, groups, eps.

    A copy of the weights alone would not notice another stride, and compute something else. Whether a
    convolution has a bias is not compared: the names of the weights tell.

    Raises:
        ValueError: the first layer that differs, by name.
    """
    for name in [*ours, *(name for name in theirs if name not in ours)]:
        mine, other = _printed(ours.get(name)), _printed(theirs.get(name))
        if mine != other:
            raise ValueError(f"the reference has {other} as {name}; ours can only have {mine} there")


def _printed(layer: nn.Module | None) -> str:
    return "nothing" if layer is None else repr(layer).replace(", bias=False", "")
