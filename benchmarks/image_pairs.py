"""Image encoders against torchvision and transformers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.pair import Pair
from mmbook import Modality
from mmbook.encoders import VGG, MobileNetV2, ResNet, SmallCNN, ViT

BATCH = 16


def pairs() -> Iterator[Pair]:
    """A batch of 16 pictures; those of 224 pixels are the references' own size, 4 of them."""
    from torchvision import models
    from transformers import ViTConfig, ViTModel

    for size in (96, 72):
        yield pair(f"MobileNetV2, {size} px", MobileNetV2, models.mobilenet_v2(), size)
        small = SmallCNN()
        images = pictures(size)
        yield Pair(f"SmallCNN, {size} px", small, partial(tokens, small, images), None, None, BATCH)
    yield pair("VGG-11, 96 px", VGG, models.vgg11(), 96)
    yield pair("VGG-16 with batch norm, 64 px", VGG, models.vgg16_bn(), 64)
    yield pair("ResNet-18, 96 px", ResNet, models.resnet18(), 96)
    yield pair("ResNet-50, 96 px", ResNet, models.resnet50(), 96)
    yield pair("ResNet-50, 224 px", ResNet, models.resnet50(), 224, batch=4)
    tiny = ViTConfig(
        hidden_size=192, num_attention_heads=3, intermediate_size=768, image_size=96, patch_size=16
    )
    yield pair("ViT-Ti/16, 96 px", ViT, ViTModel(tiny, add_pooling_layer=False), 96)
    yield pair("ViT-B/16, 224 px", ViT, ViTModel(ViTConfig(), add_pooling_layer=False), 224, batch=4)


def pair(what: str, kind: Any, theirs: nn.Module, size: int, batch: int = BATCH) -> Pair:
    ours, images = kind.from_reference(theirs), pictures(size, batch)
    trunk = without_head(theirs)
    reference = partial(trunk_tokens, trunk, images.values[:, 0])
    return Pair(what, ours, partial(tokens, ours, images), trunk, reference, batch)


def without_head(theirs: Any) -> nn.Module:
    """The part of a reference that ours is equal to."""
    if hasattr(theirs, "features"):
        return theirs.features
    if hasattr(theirs, "fc"):
        return nn.Sequential(*list(theirs.children())[:-2])  # without the average and the classifier
    return theirs


def trunk_tokens(trunk: nn.Module, frames: Tensor) -> Tensor:
    out = trunk(frames)
    return out if isinstance(out, Tensor) else out.last_hidden_state


def tokens(encoder: nn.Module, images: Modality) -> Tensor:
    return encoder(images).values


def pictures(size: int, batch: int = BATCH) -> Modality:
    return Modality(torch.randn(batch, 1, 3, size, size), torch.ones(batch, 1, dtype=torch.bool))
