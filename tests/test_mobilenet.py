"""Our MobileNetV2 against torchvision's: outputs, gradients, batch statistics, the real ImageNet weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mmbook import Modality, assets
from mmbook.encoders import MobileNetV2
from mmbook.registry import build


def reference(width: float = 1.0, seed: int = 0) -> torch.nn.Module:
    from torchvision.models import mobilenet_v2

    torch.manual_seed(seed)
    model = mobilenet_v2(width_mult=width)
    for module in model.modules():  # as after training: no statistic at its starting value
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model


def pictures(*shape: int) -> Modality:
    torch.manual_seed(1)
    return Modality(torch.randn(*shape), torch.ones(shape[:2], dtype=torch.bool))


def grid(features: Tensor) -> Tensor:
    """``(N, D, h, w)`` to ``(N, h * w, D)``."""
    return features.flatten(2).transpose(1, 2)


# Ours keeps the channels innermost in memory, so that other kernels sum the same products in another order.
# Over 52 convolutions the float32 rounding of the two sums grows with the size of the features: hence the
# tolerance is 3e-5 of the largest feature.
def assert_equal(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=3e-5 * expected.abs().max().item(), rtol=1e-5)


@pytest.mark.parametrize(
    ("width", "size"), [(1.0, (96, 96)), (1.0, (72, 72)), (0.5, (64, 100)), (0.35, (33, 47))]
)
def test_equals_torchvision_in_eval(width: float, size: tuple[int, int]) -> None:
    theirs = reference(width).eval()
    ours = MobileNetV2.from_reference(theirs)
    images = pictures(3, 1, 3, *size)
    with torch.no_grad():
        assert_equal(ours(images).values, grid(theirs.features(images.values[:, 0])))


# In training each batch norm divides by the deviation of a few pictures, which amplifies rounding from layer
# to layer. In float64 what is left of it is far below any real difference.
def test_training_equals_torchvision_on_the_real_pictures() -> None:
    """Outputs, gradients and running statistics; the reference sees only the pictures that exist."""
    theirs = reference(0.35).double().train()
    ours = MobileNetV2.from_reference(theirs).double()
    images = pictures(6, 2, 3, 64, 64)
    values, mask = images.values.double(), images.mask.clone()
    mask[1] = mask[4] = False
    mask[2, 1] = False
    values[~mask] = float("nan")
    found = ours(Modality(values, mask))
    expected = grid(theirs.features(values[mask]))
    torch.testing.assert_close(found.values[found.mask], expected.flatten(0, 1), atol=1e-8, rtol=1e-8)

    weight = torch.randn_like(expected)
    (found.values[found.mask] * weight.flatten(0, 1)).sum().backward()
    (expected * weight).sum().backward()
    for (name, a), (_, b) in zip(
        ours.features.named_parameters(), theirs.features.named_parameters(), strict=True
    ):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-8, rtol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
    for name, statistic in ours.features.state_dict().items():
        # the copy was made in float32, in which 0.1 is not quite 0.1
        torch.testing.assert_close(statistic, theirs.features.state_dict()[name], atol=1e-6, rtol=1e-6)


def test_a_blank_in_place_of_a_missing_picture_would_change_the_others() -> None:
    """The case that is avoided: the reference reads the blank through its batch statistics."""
    theirs = reference(0.35).double().train()
    values = pictures(4, 1, 3, 64, 64).values.double()
    values[3] = 0
    mask = torch.tensor([[True], [True], [True], [False]])
    found = MobileNetV2.from_reference(theirs).double()(Modality(values, mask)).values[:3]
    torch.testing.assert_close(found, grid(theirs.features(values[:3, 0])), atol=1e-6, rtol=1e-6)
    blank = grid(theirs.features(values[:, 0]))[:3]
    assert (blank - found).abs().max() > 0.01 * found.abs().max()


def test_no_picture_leaves_the_running_statistics_alone() -> None:
    ours = MobileNetV2.from_reference(reference(0.35)).train()
    before = {k: v.clone() for k, v in ours.state_dict().items() if "running" in k}
    ours(Modality(torch.zeros(2, 1, 3, 64, 64), torch.zeros(2, 1, dtype=torch.bool)))
    assert all(torch.equal(ours.state_dict()[name], value) for name, value in before.items())


def test_pretrained_equals_torchvision_with_its_own_file() -> None:
    theirs = reference().eval()
    theirs.load_state_dict(torch.load(assets.path("mobilenet_v2"), weights_only=True))
    ours = MobileNetV2.pretrained()
    assert not ours.training and ours.out_dim == 1280
    images = pictures(2, 1, 3, 96, 96)
    with torch.no_grad():
        found = ours(images)
        assert found.values.shape == (2, 9, 1280)
        assert_equal(found.values, grid(theirs.features(images.values[:, 0])))
        # the mean over the grid is what torchvision's classifier sees
        torch.testing.assert_close(
            theirs.classifier(found.pooled()), theirs(images.values[:, 0]), atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize(
    ("until", "out_dim", "cells"), [(1, 32, 48 * 48), (7, 32, 144), (14, 96, 36), (19, 1280, 9)]
)
def test_until_keeps_the_first_layers(until: int, out_dim: int, cells: int) -> None:
    theirs = reference().eval()
    theirs.load_state_dict(torch.load(assets.path("mobilenet_v2"), weights_only=True))
    ours = MobileNetV2.pretrained(until=until)
    assert ours.out_dim == out_dim and len(ours.features) == until
    images = pictures(2, 1, 3, 96, 96)
    with torch.no_grad():
        found = ours(images).values
        assert found.shape == (2, cells, out_dim)
        assert_equal(found, grid(theirs.features[:until](images.values[:, 0])))
    again = build(ours.config)
    again.load_state_dict(ours.state_dict(), strict=True)


def test_impossible_until_is_named() -> None:
    for until in (0, 20):
        with pytest.raises(ValueError, match=f"until is {until}; this network has layers 1 to 19"):
            MobileNetV2(until=until)
