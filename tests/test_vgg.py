"""Our VGG against torchvision's: outputs, gradients, batch statistics."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmbook import Modality
from mmbook.encoders import VGG
from mmbook.encoders.vgg import VGG11, VGG16


def reference(layers: list[int | str], batch_norm: bool, seed: int = 0) -> Any:
    """torchvision's VGG of any list of layers, as after training: no number at its starting value."""
    from torchvision.models.vgg import VGG as Theirs
    from torchvision.models.vgg import make_layers

    torch.manual_seed(seed)
    model = Theirs(make_layers(layers, batch_norm), num_classes=3, init_weights=False)
    model.classifier = nn.Identity()  # 120 M parameters that are not compared
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model


def pictures(*shape: int) -> Modality:
    torch.manual_seed(1)
    return Modality(torch.randn(*shape), torch.ones(shape[:2], dtype=torch.bool))


def grid(features: Tensor) -> Tensor:
    """``(N, D, h, w)`` to ``(N, h * w, D)``."""
    return features.flatten(2).transpose(1, 2)


SMALL = [8, "M", 12, 12, "M", 20]  # ends with a convolution
CASES = [(SMALL, (20, 31)), (list(VGG11), (64, 64)), (list(VGG16), (33, 47))]


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize(("layers", "size"), CASES)
def test_equals_torchvision_in_eval(layers: list[int | str], size: tuple[int, int], batch_norm: bool) -> None:
    theirs = reference(layers, batch_norm).eval()
    ours = VGG.from_reference(theirs)
    assert not ours.training and ours.out_dim == layers[-1 if layers is SMALL else -2]
    images = pictures(2, 1, 3, *size)
    with torch.no_grad():
        expected = grid(theirs.features(images.values[:, 0]))
        scale = expected.abs().max().item()
        torch.testing.assert_close(ours(images).values, expected, atol=1e-5 * max(scale, 1), rtol=1e-5)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_training_equals_torchvision_on_the_real_pictures(batch_norm: bool) -> None:
    """Outputs, gradients and running statistics; the reference sees only the pictures that exist."""
    theirs = reference(SMALL, batch_norm).train()
    ours = VGG.from_reference(theirs).double()
    theirs.double()
    assert ours.training
    images = pictures(5, 2, 3, 24, 24)
    values, mask = images.values.double(), images.mask.clone()
    mask[1] = mask[3, 1] = False
    values[~mask] = float("nan")
    found = ours(Modality(values, mask)).values
    found = found.unflatten(1, (2, -1))[mask]  # (real pictures, h * w, D)
    expected = grid(theirs.features(values[mask]))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)

    weight = torch.randn_like(expected)
    (found * weight).sum().backward()
    (expected * weight).sum().backward()
    gradients = {name: parameter.grad for name, parameter in theirs.features.named_parameters()}
    for name, parameter in ours.features.named_parameters():
        expected_gradient = gradients.pop(name)
        torch.testing.assert_close(
            parameter.grad, expected_gradient, atol=1e-6, rtol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )
    # the only parameters that ours lacks are biases that a batch norm takes away: their gradient is rounding
    assert all(name.endswith("bias") and gradient.abs().max() < 1e-9 for name, gradient in gradients.items())
    assert bool(gradients) == batch_norm
    for theirs_norm, ours_norm in zip(theirs.features, ours.features, strict=True):
        if isinstance(theirs_norm, nn.BatchNorm2d):
            torch.testing.assert_close(theirs_norm.running_var, ours_norm.running_var)


def test_after_a_training_step_eval_is_still_equal() -> None:
    """Our batch norm holds the bias of the convolution in its mean, and must move as the reference's does."""
    theirs = reference(SMALL, batch_norm=True).train()
    ours = VGG.from_reference(theirs)
    images = pictures(4, 1, 3, 24, 24)
    theirs.features(images.values[:, 0])
    ours(images)
    theirs.eval(), ours.eval()
    expected = grid(theirs.features(images.values[:, 0]))
    # 0.9 of the old mean is kept, 0.1 of the new one comes in: of the bias, too, so both move alike
    torch.testing.assert_close(ours(images).values, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("place", "layer", "message"),
    [
        (0, nn.Conv2d(3, 8, 3, padding=1, stride=2), r"stride=\(2, 2\)"),
        (1, nn.GELU(), "GELU"),
        (2, nn.AvgPool2d(2), "AvgPool2d"),
        (2, nn.MaxPool2d(2, 2, ceil_mode=True), "ceil_mode=True"),
    ],
)
def test_other_layers_are_refused(place: int, layer: nn.Module, message: str) -> None:
    theirs = reference(SMALL, batch_norm=False)
    theirs.features[place] = layer
    with pytest.raises(ValueError, match=message):
        VGG.from_reference(theirs)


def test_a_picture_too_small_is_named() -> None:
    with pytest.raises(ValueError, match=r"\(24, 64\) pixels.*5 halvings need at least 32"):
        VGG()(pictures(1, 1, 3, 24, 64))


@pytest.mark.parametrize("layers", [(), ("M",), (8, "N"), (0, 8)])
def test_impossible_layers_are_named(layers: tuple[int | str, ...]) -> None:
    with pytest.raises(ValueError, match="layers are .*at least one"):
        VGG(layers)
