"""How an encoder takes over a published network: its options, its layers compared, its weights renamed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from mmbook.preprocess.image import IMAGENET_MEAN, IMAGENET_STD

T = TypeVar("T")
Names = Mapping[str, str | Callable[[re.Match[str]], str]]

# Our option -> its name in the configuration of a transformer in the library transformers.
OPTIONS = {
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "hidden": "intermediate_size",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "eps": "layer_norm_eps",
}


def options_of(config: Any, **names: str) -> dict[str, Any]:
    """Our constructor's arguments, taken from a configuration of transformers: `OPTIONS` and `names`."""
    return {ours: getattr(config, theirs) for ours, theirs in (OPTIONS | names).items()}


def renamed(
    weights: Mapping[str, T], names: Names, left_out: str = "$^", qkv: tuple[str, str, str] | None = None
) -> dict[str, T]:
    """The reference's tensors (weights, gradients, statistics), or its layers, under our names.

    A name that nothing fits keeps its own, so that a strict load reports it.

    Args:
        weights: theirs.
        names: regular expression -> what takes the place of each match; all of them, one after another.
        left_out: regular expression of the names that an encoder does without.
        qkv: their names of the projections to query, key and value, whose tensors become the one ``qkv``.
    """
    ours: dict[str, T] = {}
    for name, value in weights.items():
        if re.search(left_out, name) or (qkv and any(f".{part}." in name for part in qkv[1:])):
            continue
        if qkv and f".{qkv[0]}." in name:
            parts: Any = [weights[name.replace(f".{qkv[0]}.", f".{part}.")] for part in qkv]
            value, name = torch.cat(parts), name.replace(f".{qkv[0]}.", ".qkv.")  # type: ignore[assignment]
        for theirs, short in names.items():
            name = re.sub(theirs, short, name)
        ours[name] = value
    return ours


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


@torch.no_grad()
def read_imagenet(patches: nn.Conv2d, name: str) -> None:
    """Change a first layer so that it takes pixels standardised by ImageNet's mean and deviation.

    The weights of `name`, on the hub or in a folder, were trained with those of its own image processor:
    theirs is ``(rgb - mean) / std``, and rgb is ``ours * IMAGENET_STD + IMAGENET_MEAN``. The layer is linear
    and has no padding, so the difference fits into its weights ``(D, 3, patch, patch)`` and bias ``(D,)``.
    """
    from transformers import AutoImageProcessor

    given = AutoImageProcessor.from_pretrained(name)
    mean, std = torch.tensor(given.image_mean), torch.tensor(given.image_std)
    scale, shift = torch.tensor(IMAGENET_STD) / std, (torch.tensor(IMAGENET_MEAN) - mean) / std
    assert patches.bias is not None
    patches.bias += (patches.weight * shift[:, None, None]).sum(dim=(1, 2, 3))
    patches.weight *= scale[:, None, None]
