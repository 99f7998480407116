"""Our ViT against transformers' and torchvision's: outputs, gradients, weights from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmbook import Modality
from mmbook.encoders import ViT
from mmbook.encoders.vit import our_weights
from mmbook.preprocess import ImageProcessor


def lively(model: Any) -> Any:
    """As after training: attention that prefers some tokens, no gain or bias at its starting value."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "pos" in name or "token" in name:
                parameter.normal_(std=0.5)
            elif parameter.dim() > 1:
                parameter.normal_(std=1.5 * parameter[0].numel() ** -0.5)
            else:
                parameter += torch.randn_like(parameter) * 0.1
    return model


def vit_size(size: Any, patch: int, width: int, layers: int, heads: int, **more: Any) -> dict[str, Any]:
    sizes = {"image_size": size, "patch_size": patch, "hidden_size": width, "num_hidden_layers": layers}
    return sizes | {"num_attention_heads": heads, "intermediate_size": 3 * width} | more


def transformers_vit(**sizes: Any) -> Any:
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    return lively(ViTModel(ViTConfig(**sizes)))


def torchvision_vit(**options: Any) -> Any:
    from torchvision.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    sizes = {"image_size": 48, "patch_size": 16, "num_layers": 3, "num_heads": 4, "hidden_dim": 32}
    return lively(VisionTransformer(**(sizes | {"mlp_dim": 64, "num_classes": 2} | options)))


def tokens(module: Any, frames: Tensor) -> Tensor:
    """``(N, 1 + h * w, D)`` of either reference."""
    if hasattr(module, "config"):
        return module(frames).last_hidden_state
    x = module._process_input(frames)
    return module.encoder(torch.cat([module.class_token.expand(len(x), -1, -1), x], dim=1))


def pictures(*shape: int) -> Modality:
    torch.manual_seed(1)
    return Modality(torch.randn(*shape), torch.ones(shape[:2], dtype=torch.bool))


SIZES = [
    vit_size(32, 8, 16, 1, 1),
    vit_size((48, 32), 16, 48, 3, 4, layer_norm_eps=1e-6),
    vit_size(96, 16, 192, 12, 3),
]


@pytest.mark.parametrize("sizes", SIZES)
def test_equals_transformers_in_eval(sizes: dict[str, Any]) -> None:
    theirs = transformers_vit(hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1, **sizes).eval()
    ours = ViT.from_reference(theirs)
    assert not ours.training
    images = pictures(3, 1, 3, *ours.size)
    with torch.no_grad():
        torch.testing.assert_close(
            ours(images).values, tokens(theirs, images.values[:, 0]), atol=1e-5, rtol=1e-5
        )


def test_equals_torchvision_in_eval() -> None:
    theirs = torchvision_vit(attention_dropout=0.1).eval()
    images = pictures(3, 1, 3, 48, 48)
    with torch.no_grad():
        found = ViT.from_reference(theirs)(images).values
        expected = tokens(theirs, images.values[:, 0])
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        # the class token of each picture is what its classifier sees
        torch.testing.assert_close(
            theirs.heads(found[:, 0]), theirs(images.values[:, 0]), atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("make", [lambda: transformers_vit(**SIZES[1]), torchvision_vit])
def test_gradients_equal_the_reference(make: Any) -> None:
    # In float64, so that another order of summation cannot hide behind, or pass for, a real difference.
    theirs = make().train()
    ours = ViT.from_reference(theirs).double()
    theirs.double()
    assert ours.training
    images = pictures(4, 2, 3, *ours.size)
    values, mask = images.values.double(), images.mask.clone()
    mask[2] = mask[3, 1] = False
    values[~mask] = float("nan")
    found = ours(Modality(values, mask)).values.unflatten(1, (2, -1))[mask]
    expected = tokens(theirs, values[mask])
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)
    weight = torch.randn_like(expected)
    (found * weight).sum().backward()
    (expected * weight).sum().backward()
    # pooler and head have no gradient here
    gradients = our_weights({name: p.grad for name, p in theirs.named_parameters() if p.grad is not None})
    assert gradients.keys() == {name for name, _ in ours.named_parameters()}
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(
            parameter.grad, gradients[name], atol=1e-9, rtol=1e-9, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_tokens_are_the_class_and_the_grid_row_by_row() -> None:
    """Without blocks a token is its own patch; the class token is the same for every picture."""
    encoder = ViT(size=(32, 48), patch=16, layers=0).eval()
    values = torch.zeros(1, 1, 3, 32, 48)
    blank = encoder(Modality(values.clone(), torch.ones(1, 1, dtype=torch.bool))).values[0]
    values[0, 0, :, 20, 20] = 1  # second row of patches, second column of three
    change = (encoder(Modality(values, torch.ones(1, 1, dtype=torch.bool))).values[0] - blank).norm(dim=-1)
    assert change.nonzero().flatten().tolist() == [1 + 3 + 1]


def test_without_positions_the_class_token_sees_a_bag_of_patches() -> None:
    encoder = ViT.from_reference(transformers_vit(**SIZES[0])).eval()
    images = pictures(1, 1, 3, 32, 32)
    halves = torch.cat([images.values[..., 16:], images.values[..., :16]], dim=-1)  # left and right swapped
    swapped = Modality(halves, images.mask)
    with torch.no_grad():
        assert not torch.allclose(encoder(images).values[:, 0], encoder(swapped).values[:, 0], atol=1e-3)
        encoder.positions[:, 1:] = 0
        torch.testing.assert_close(encoder(images).values[:, 0], encoder(swapped).values[:, 0])


@pytest.mark.parametrize("mean_std", [([0.5] * 3, [0.5] * 3), ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
def test_from_pretrained_takes_pictures_as_image_processor_makes_them(
    tmp_path: Path, mean_std: tuple[list[float], list[float]]
) -> None:
    """The same picture through transformers' own processor and model, and through ours."""
    from transformers import ViTImageProcessor

    theirs = transformers_vit(**SIZES[0]).eval()
    theirs.save_pretrained(tmp_path)
    mean, std = mean_std
    process = ViTImageProcessor(size={"height": 32, "width": 32}, image_mean=mean, image_std=std)
    process.save_pretrained(tmp_path)
    ours = ViT.from_pretrained(str(tmp_path))
    assert not ours.training and ours.weights == "pretrained"
    torch.manual_seed(2)
    rgb = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        expected = tokens(theirs, process(rgb, return_tensors="pt")["pixel_values"])
        image = ImageProcessor(32)(rgb)[None]
        found = ours(Modality(image, torch.ones(1, 1, dtype=torch.bool))).values
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_other_vits_are_refused() -> None:
    with pytest.raises(ValueError, match="hidden_act='relu'"):
        ViT.from_reference(transformers_vit(hidden_act="relu", **SIZES[0]))
    with pytest.raises(ValueError, match="qkv_bias=False"):
        ViT.from_reference(transformers_vit(qkv_bias=False, **SIZES[0]))
    with pytest.raises(ValueError, match=r"dropout 0\.1"):
        ViT.from_reference(torchvision_vit(dropout=0.1))
    theirs = torchvision_vit()
    theirs.conv_proj = nn.Sequential(theirs.conv_proj)
    with pytest.raises(ValueError, match="conv_proj Sequential"):
        ViT.from_reference(theirs)


def test_a_weight_that_is_not_known_stops_the_load() -> None:
    theirs = transformers_vit(**SIZES[0])
    theirs.layers[0].lambda1 = nn.Parameter(torch.zeros(16))
    with pytest.raises(RuntimeError, match=r"Unexpected.*blocks\.0\.lambda1"):
        ViT.from_reference(theirs)


def test_another_size_is_named() -> None:
    with pytest.raises(ValueError, match=r"\(64, 96\) pixels.*made for \(96, 96\)"):
        ViT(layers=1)(pictures(1, 1, 3, 64, 96))
    with pytest.raises(ValueError, match="size is 90.*patch 16"):
        ViT(size=90)
