"""Video encoders beside torchvision's R3D and transformers' TimeSformer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.pair import Pair
from mmbook import Modality
from mmbook.encoders import Framewise, SpaceTime, Video3D


def pairs() -> Iterator[Pair]:
    """R3D-18 and two sizes of TimeSformer with their references; Framewise has none."""
    from torchvision.models.video import r3d_18
    from transformers import TimesformerConfig, TimesformerModel

    clips = video(batch=2, frames=8, size=64)
    theirs = r3d_18()
    ours = Video3D.from_reference(theirs)
    frames_last = clips.values.transpose(1, 2).contiguous()  # (B, 3, T, H, W), as torchvision takes it
    body = nn.Sequential(theirs.stem, theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4)
    yield Pair(
        "Video3D: R3D-18, 8 x 64 px", ours, partial(tokens, ours, clips), body, partial(body, frames_last), 2
    )

    for what, batch, options in (
        ("SpaceTime, ViT-Ti's width, 8 x 64 px", 4, {"hidden_size": 192, "num_attention_heads": 3}),
        ("SpaceTime, width 384, 8 x 64 px", 2, {"hidden_size": 384, "num_attention_heads": 6}),
    ):
        config = TimesformerConfig(
            image_size=64, num_frames=8, intermediate_size=4 * options["hidden_size"], **options
        )
        reference = TimesformerModel(config)
        encoder = SpaceTime.from_reference(reference)
        films = video(batch, frames=8, size=64)
        yield Pair(
            what,
            encoder,
            partial(tokens, encoder, films),
            reference,
            partial(hidden, reference, films),
            batch,
        )

    framewise, short = Framewise(), video(batch=4, frames=16, size=48)
    yield Pair("Framewise(SmallCNN), 16 x 48 px", framewise, partial(tokens, framewise, short), None, None, 4)


def tokens(encoder: nn.Module, clips: Modality) -> Tensor:
    return encoder(clips).values


def hidden(model: nn.Module, clips: Modality) -> Tensor:
    return model(clips.values).last_hidden_state


def video(batch: int, frames: int, size: int) -> Modality:
    torch.manual_seed(0)
    return Modality(torch.randn(batch, frames, 3, size, size), torch.ones(batch, frames, dtype=torch.bool))
