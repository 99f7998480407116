"""Our ResNet against torchvision's and transformers': outputs, gradients, statistics, pretrained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmbook import Modality
from mmbook.encoders import ResNet
from mmbook.encoders.resnet import our_weights


def lively(model: Any) -> Any:
    """As after training: no gain, bias or statistic of a norm at its starting value."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model


def torchvision_resnet(kind: str, depths: list[int]) -> Any:
    from torchvision.models import resnet

    torch.manual_seed(0)
    block = {"basic": resnet.BasicBlock, "bottleneck": resnet.Bottleneck}[kind]
    return lively(resnet.ResNet(block, depths, num_classes=2))


def transformers_resnet(kind: str, **options: Any) -> Any:
    from transformers import ResNetConfig, ResNetModel

    torch.manual_seed(0)
    sizes = {"embedding_size": 12, "hidden_sizes": [16, 32, 48], "depths": [1, 3, 2], "layer_type": kind}
    return lively(ResNetModel(ResNetConfig(**(sizes | options))))


def features(module: Any, frames: Tensor) -> Tensor:
    """``(N, h * w, D)`` of either reference."""
    if hasattr(module, "config"):
        out = module(frames).last_hidden_state
    else:
        x = module.maxpool(module.relu(module.bn1(module.conv1(frames))))
        out = module.layer4(module.layer3(module.layer2(module.layer1(x))))
    return out.flatten(2).transpose(1, 2)


def pictures(*shape: int) -> Modality:
    torch.manual_seed(1)
    return Modality(torch.randn(*shape), torch.ones(shape[:2], dtype=torch.bool))


@pytest.mark.parametrize(
    ("kind", "depths", "size"),
    [
        ("basic", [2, 2, 2, 2], (64, 64)),  # resnet18
        ("basic", [1, 2, 1, 3], (33, 70)),
        ("bottleneck", [3, 4, 6, 3], (64, 96)),  # resnet50
        ("bottleneck", [1, 1, 2, 1], (40, 40)),
    ],
)
def test_equals_torchvision_in_eval(kind: str, depths: list[int], size: tuple[int, int]) -> None:
    theirs = torchvision_resnet(kind, depths).eval()
    ours = ResNet.from_reference(theirs)
    assert not ours.training and ours.out_dim == theirs.fc.in_features
    images = pictures(2, 1, 3, *size)
    with torch.no_grad():
        expected = features(theirs, images.values[:, 0])
        scale = expected.abs().max().item()  # random blocks make it grow from one to the next
        torch.testing.assert_close(ours(images).values, expected, atol=1e-5 * scale, rtol=1e-5)


@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_equals_transformers_in_eval(kind: str) -> None:
    theirs = transformers_resnet(kind).eval()
    images = pictures(2, 1, 3, 50, 37)
    with torch.no_grad():
        expected = features(theirs, images.values[:, 0])
        found = ResNet.from_reference(theirs)(images).values
        torch.testing.assert_close(found, expected, atol=1e-5 * expected.abs().max().item(), rtol=1e-5)


# In training each batch norm divides by the deviation of a few pictures, which amplifies rounding from layer
# to layer. In float64 what is left of it is far below any real difference.
@pytest.mark.parametrize("make", [torchvision_resnet, transformers_resnet])
@pytest.mark.parametrize("kind", ["basic", "bottleneck"])
def test_training_equals_the_reference_on_the_real_pictures(make: Any, kind: str) -> None:
    theirs = make(kind, depths=[1, 2, 1, 1] if make is torchvision_resnet else [1, 3, 2]).train()
    ours = ResNet.from_reference(theirs).double()
    theirs.double()
    assert ours.training
    images = pictures(5, 2, 3, 64, 64)
    values, mask = images.values.double(), images.mask.clone()
    mask[1] = mask[3, 1] = False
    values[~mask] = float("nan")
    found = ours(Modality(values, mask)).values.unflatten(1, (2, -1))[mask]
    expected = features(theirs, values[mask])
    torch.testing.assert_close(found, expected, atol=1e-8, rtol=1e-8)

    weight = torch.randn_like(expected)
    (found * weight).sum().backward()
    (expected * weight).sum().backward()
    gradients = our_weights({name: p.grad for name, p in theirs.named_parameters() if p.grad is not None})
    assert gradients.keys() == {name for name, _ in ours.named_parameters()}
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(
            parameter.grad, gradients[name], atol=1e-8, rtol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )
    for name, statistic in our_weights(theirs.state_dict()).items():
        if "running" in name:  # the copy was made in float32, in which 0.1 is not quite 0.1
            torch.testing.assert_close(ours.state_dict()[name], statistic, atol=1e-6, rtol=1e-6)


def test_from_pretrained_reads_a_folder(tmp_path: Path) -> None:
    theirs = transformers_resnet("bottleneck").eval()
    theirs.save_pretrained(tmp_path)
    ours = ResNet.from_pretrained(str(tmp_path))
    assert not ours.training and ours.weights == "pretrained"
    images = pictures(2, 1, 3, 64, 64)
    with torch.no_grad():
        expected = features(theirs, images.values[:, 0])
        torch.testing.assert_close(
            ours(images).values, expected, atol=1e-5 * expected.abs().max().item(), rtol=1e-5
        )


def test_other_resnets_are_refused() -> None:
    from torchvision.models import resnet

    wide = resnet.ResNet(resnet.Bottleneck, [1, 1, 1, 1], num_classes=2, width_per_group=128)
    grouped = resnet.ResNet(resnet.Bottleneck, [1, 1, 1, 1], num_classes=2, groups=2, width_per_group=32)
    dilated = resnet.ResNet(
        resnet.Bottleneck, [1, 1, 1, 2], num_classes=2, replace_stride_with_dilation=[False, False, True]
    )
    normed = resnet.ResNet(
        resnet.BasicBlock, [1, 1, 1, 1], num_classes=2, norm_layer=lambda c: nn.GroupNorm(8, c)
    )
    early = transformers_resnet("bottleneck", downsample_in_bottleneck=True)
    down = transformers_resnet("basic", downsample_in_first_stage=True)
    activated = transformers_resnet("basic", hidden_act="gelu")
    for module, message in (
        (wide, "Conv2d"),
        (grouped, "groups=2"),
        (dilated, r"stages\.3\.0\.body\.3"),
        (normed, "GroupNorm"),
        (early, r"stride=\(2, 2\)"),
        (down, r"stride=\(2, 2\)"),
        (activated, "GELU"),
    ):
        with pytest.raises(ValueError, match=message):
            ResNet.from_reference(module)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "wide"}, "'wide'.*basic, bottleneck"),
        ({"depths": (2, 2)}, r"\(2, 2\) and widths \(64, 128, 256, 512\)"),
        ({"depths": (), "widths": ()}, "one of each"),
    ],
)
def test_impossible_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResNet(**options)
