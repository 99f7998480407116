"""Our TimeSformer against transformers.TimesformerModel: outputs, gradients, and a mask that theirs lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmbook import Modality
from mmbook.encoders import SpaceTime
from mmbook.encoders.space_time import our_weights
from mmbook.preprocess.image import IMAGENET_MEAN, IMAGENET_STD


def sizes(size: int, patch: int, frames: int, width: int, layers: int, heads: int) -> dict[str, Any]:
    of_width = {"hidden_size": width, "intermediate_size": 2 * width + 8, "num_attention_heads": heads}
    return of_width | {
        "image_size": size,
        "patch_size": patch,
        "num_frames": frames,
        "num_hidden_layers": layers,
    }


SIZES = [sizes(16, 8, 1, 16, 1, 1), sizes(32, 16, 5, 24, 3, 4), sizes(48, 8, 6, 64, 12, 2)]


def reference(seed: int = 0, **options: Any) -> Any:
    from transformers import TimesformerConfig, TimesformerModel

    torch.manual_seed(seed)
    model = TimesformerModel(TimesformerConfig(**options))
    for name, parameter in model.named_parameters():  # as after training: nothing at its starting value
        if "embeddings" in name or "cls_token" in name:
            nn.init.normal_(parameter, std=0.3)
        elif "layernorm" in name and name.endswith("weight"):
            nn.init.uniform_(parameter, 0.5, 1.5)
        elif name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
        elif parameter.dim() == 2:
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
    return model


def video(options: dict[str, Any], frames: int | None = None) -> Modality:
    torch.manual_seed(1)
    T = options["num_frames"] if frames is None else frames
    values = torch.randn(3, T, 3, options["image_size"], options["image_size"])
    return Modality(values, torch.ones(3, T, dtype=torch.bool))


def expected_tokens(theirs: Any, values: Tensor) -> Tensor:
    """Theirs in our order: the class token, then frame by frame instead of place by place."""
    tokens = theirs(values).last_hidden_state
    frames = tokens[:, 1:].unflatten(1, (-1, values.shape[1])).transpose(1, 2).flatten(1, 2)
    return torch.cat([tokens[:, :1], frames], dim=1)


@pytest.mark.parametrize("options", SIZES)
def test_equals_transformers_in_eval(options: dict[str, Any]) -> None:
    theirs = reference(hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1, **options).eval()
    ours = SpaceTime.from_reference(theirs)
    assert not ours.training
    data = video(options)
    with torch.no_grad():
        torch.testing.assert_close(
            ours(data).values, expected_tokens(theirs, data.values), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("options", SIZES)
def test_gradients_equal_transformers(options: dict[str, Any]) -> None:
    theirs = reference(**options).train()
    ours = SpaceTime.from_reference(theirs).double()
    theirs.double()
    assert ours.training
    values, mask = video(options)
    found = ours(Modality(values.double(), mask)).values
    weight = torch.randn_like(found)
    (found * weight).sum().backward()
    (expected_tokens(theirs, values.double()) * weight).sum().backward()
    expected = our_weights({name: p.grad for name, p in theirs.named_parameters()})
    assert expected.keys() == dict(ours.named_parameters()).keys()
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(
            parameter.grad, expected[name], atol=1e-9, rtol=1e-9, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_the_same_on_a_masked_row_of_full_length() -> None:
    """Beside a row that lacks the video and a shorter one, a full row equals the reference."""
    options = SIZES[1]
    theirs = reference(**options).eval()
    data = video(options)
    mask = data.mask.clone()
    mask[1], mask[2, 3:] = False, False
    with torch.no_grad():
        found = SpaceTime.from_reference(theirs)(Modality(data.values, mask)).values[0]
        torch.testing.assert_close(found, expected_tokens(theirs, data.values[:1])[0], atol=1e-5, rtol=1e-5)


def test_a_shorter_video_equals_the_reference_made_for_it() -> None:
    """Frame t has vector t: as in a model for so few frames with the first of the vectors."""
    options = SIZES[1]
    theirs = reference(**options).eval()
    shorter = reference(**options | {"num_frames": 3}).eval()
    weights = theirs.state_dict()
    weights["embeddings.time_embeddings"] = weights["embeddings.time_embeddings"][:, :3]
    shorter.load_state_dict(weights)
    ours = SpaceTime.from_reference(theirs)
    data = video(options, frames=3)
    padded = torch.full((3, 5, 3, 32, 32), float("nan"))
    padded[:, :3] = data.values
    with torch.no_grad():
        expected = expected_tokens(shorter, data.values)
        torch.testing.assert_close(ours(data).values, expected, atol=1e-5, rtol=1e-5)
        found = ours(Modality(padded, torch.arange(5).expand(3, -1) < 3))
    torch.testing.assert_close(found.values[:, : expected.shape[1]], expected, atol=1e-5, rtol=1e-5)
    assert not found.values[:, expected.shape[1] :].any()


def test_order_matters() -> None:
    """With vectors for the frames; without them time attention is blind to the order."""
    options = SIZES[1]
    ours = SpaceTime.from_reference(reference(**options)).eval()
    forth = video(options)
    back = Modality(forth.values.flip(1), forth.mask)
    assert (ours(forth).values[:, 0] - ours(back).values[:, 0]).abs().max() > 0.01
    with torch.no_grad():
        ours.times.zero_()
    torch.testing.assert_close(ours(forth).values[:, 0], ours(back).values[:, 0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention_type": "joint_space_time"}, "joint_space_time"),
        ({"hidden_act": "relu"}, "relu"),
        ({"qkv_bias": False}, "'qkv_bias': False"),
        ({"drop_path_rate": 1}, "'drop_path_rate': 1"),
        ({"num_channels": 1}, "num_channels=1"),
    ],
)
def test_relatives_are_refused(change: dict[str, Any], message: str) -> None:
    from transformers import TimesformerConfig

    module = nn.Module()
    module.config = TimesformerConfig(**SIZES[0] | change)  # type: ignore[assignment]
    with pytest.raises(ValueError, match=message):
        SpaceTime.from_reference(module)


def test_a_weight_that_is_not_used_stops_the_load() -> None:
    theirs = reference(**SIZES[0])
    theirs.encoder.layer[0].add_module("adapter", nn.Linear(2, 2))
    with pytest.raises(RuntimeError, match=r"Unexpected.*blocks\.0\.adapter\.weight"):
        SpaceTime.from_reference(theirs)


def test_pretrained_weights_of_a_folder(tmp_path: Path) -> None:
    """What transformers saved, with its own mean and deviation, for input standardised as all videos here."""
    from transformers import VideoMAEImageProcessor

    options = SIZES[1]
    theirs = reference(**options).eval()
    theirs.save_pretrained(tmp_path)
    mean, std = [0.45, 0.4, 0.5], [0.225, 0.3, 0.2]
    VideoMAEImageProcessor(image_mean=mean, image_std=std).save_pretrained(tmp_path)
    ours = SpaceTime.from_pretrained(str(tmp_path))
    assert not ours.training and ours.weights == "pretrained"
    rgb = torch.rand(2, 5, 3, 32, 32)

    def standardised(mean: Any, std: Any) -> Tensor:
        return (rgb - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]

    with torch.no_grad():
        mask = torch.ones(2, 5, dtype=torch.bool)
        found = ours(Modality(standardised(IMAGENET_MEAN, IMAGENET_STD), mask)).values
        torch.testing.assert_close(
            found, expected_tokens(theirs, standardised(mean, std)), atol=1e-5, rtol=1e-5
        )


def test_what_does_not_fit_is_named() -> None:
    ours = SpaceTime(size=16, frames=3, patch=8, width=16, layers=1, heads=2, hidden=16)

    def run(*shape: int) -> None:
        ours(Modality(torch.zeros(shape), torch.ones(shape[:2], dtype=torch.bool)))

    with pytest.raises(ValueError, match=r"\(1, 3, 3, 24, 16\).*size=16"):
        run(1, 3, 3, 24, 16)
    with pytest.raises(ValueError, match="4 frames.*frames=3"):
        run(1, 4, 3, 16, 16)
    with pytest.raises(ValueError, match="size is 20.*patch 8"):
        SpaceTime(size=20, patch=8)
