"""Our R3D against torchvision's: outputs, gradients, batch statistics, and the padding that theirs reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmbook import Modality
from mmbook.encoders import Video3D
from mmbook.encoders.video3d import KINETICS_MEAN, KINETICS_STD, our_weights
from mmbook.preprocess.image import IMAGENET_MEAN, IMAGENET_STD


def reference(blocks: tuple[int, ...] = (1, 2, 1, 1), thin: bool = True, seed: int = 0) -> Any:
    """A VideoResNet as r3d_18 is one, of fewer blocks and, if thin, of an eighth of the channels."""
    from torchvision.models.video.resnet import BasicBlock, BasicStem, Conv3DSimple, VideoResNet

    torch.manual_seed(seed)
    model = VideoResNet(BasicBlock, [Conv3DSimple] * 4, list(blocks), BasicStem)
    if thin:
        model.stem[0], model.stem[1] = (
            nn.Conv3d(3, 8, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False),
            nn.BatchNorm3d(8),
        )
        model.inplanes = 8
        for stage, count in enumerate(blocks):
            layer = model._make_layer(BasicBlock, Conv3DSimple, 8 * 2**stage, count, stride=2 if stage else 1)
            setattr(model, f"layer{stage + 1}", layer)
        model.fc = nn.Linear(64, 5)
    for module in model.modules():  # as after training: no gain, shift or statistic at its starting value
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model


def grid(model: Any, values: Tensor) -> Tensor:
    """What the reference has before its pooling: ``(B, T, 3, H, W)`` to ``(B, T' * h * w, D)``."""
    x = model.stem(values.transpose(1, 2))
    for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
        x = layer(x)
    return x.flatten(2).transpose(1, 2)


def video(*shape: int, lengths: list[int] | None = None) -> Modality:
    torch.manual_seed(1)
    values = torch.randn(*shape)
    mask = torch.arange(shape[1]) < torch.tensor(lengths or [shape[1]] * shape[0])[:, None]
    return Modality(values, mask)


@pytest.mark.parametrize(
    ("blocks", "thin", "shape"),
    [
        ((1, 1, 1, 1), True, (2, 8, 3, 32, 32)),
        ((2, 1, 3, 2), True, (2, 5, 3, 40, 56)),
        ((1, 1, 1, 1), True, (1, 1, 3, 17, 33)),
        ((2, 2, 2, 2), False, (1, 6, 3, 32, 32)),  # r3d_18 itself
    ],
)
def test_equals_torchvision_in_eval(blocks: tuple[int, ...], thin: bool, shape: tuple[int, ...]) -> None:
    theirs = reference(blocks, thin).eval()
    ours = Video3D.from_reference(theirs)
    assert not ours.training
    with torch.no_grad():
        expected = grid(theirs, video(*shape).values)
        found = ours(video(*shape)).values
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(theirs.fc(found.mean(dim=1)), theirs(video(*shape).values.transpose(1, 2)))


# In float64: batch norm over a few cells amplifies rounding from layer to layer.
def test_training_equals_torchvision_without_padding() -> None:
    """Outputs, gradients and running statistics; a row without a video is as if it were not there."""
    theirs = reference().double().train()
    ours = Video3D.from_reference(theirs).double()
    data = video(4, 7, 3, 32, 40, lengths=[7, 7, 0, 7])
    values = data.values.double().masked_fill(~data.mask[:, :, None, None, None], float("nan"))
    found = ours(Modality(values, data.mask))
    expected = grid(theirs, values[[0, 1, 3]])
    torch.testing.assert_close(found.values[[0, 1, 3]], expected, atol=1e-9, rtol=1e-9)

    weight = torch.randn_like(expected)
    (found.values[[0, 1, 3]] * weight).sum().backward()
    (expected * weight).sum().backward()
    gradients = {n: p.grad for n, p in theirs.named_parameters() if not n.startswith("fc.")}
    wanted = our_weights(gradients)
    assert wanted.keys() == dict(ours.named_parameters()).keys()
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(
            parameter.grad, wanted[name], atol=1e-9, rtol=1e-7, msg=lambda m, n=name: f"{n}: {m}"
        )
    statistics = our_weights(theirs.state_dict())
    for name, value in ours.state_dict().items():
        # the copy was made in float32, in which 0.1 is not quite 0.1
        torch.testing.assert_close(value, statistics[name], atol=1e-6, rtol=1e-6)


def test_the_reference_reads_its_padding_and_ours_does_not() -> None:
    theirs = reference().eval()
    ours = Video3D.from_reference(theirs)
    data = video(2, 12, 3, 32, 32, lengths=[12, 7])
    values = data.values.masked_fill(~data.mask[:, :, None, None, None], 0)
    with torch.no_grad():
        alone = grid(theirs, values[1:, :7])[0]  # 7 frames become 4, 2, 1
        assert len(alone) == 4
        there = grid(theirs, values)[1, :4]
        found = ours(Modality(values, data.mask))
    assert (there - alone).abs().max() > 0.1 * alone.abs().max(), "zero frames change the last real ones"
    assert found.mask[1].tolist() == [True] * 4 + [False] * 4
    torch.testing.assert_close(found.values[1, :4], alone, atol=1e-5, rtol=1e-5)


def test_padding_does_not_change_training_either() -> None:
    """Statistics over real frames: rows of different lengths, then with more padding, full of junk."""
    ours = Video3D(widths=(8, 16), blocks=(1, 1)).double().train()
    data = video(3, 6, 3, 24, 24, lengths=[6, 3, 4])
    short = Modality(data.values.double(), data.mask)
    longer = torch.full((3, 9, 3, 24, 24), float("inf"), dtype=torch.float64)
    longer[:, :6] = short.values
    mask = torch.zeros(3, 9, dtype=torch.bool)
    mask[:, :6] = data.mask
    first, second = ours(short), ours(Modality(longer, mask))
    torch.testing.assert_close(second.values[second.mask], first.values[first.mask], atol=1e-10, rtol=1e-8)


def test_tokens_are_the_grid_in_time_and_place() -> None:
    """A flash in one corner of the third of three pairs of frames changes most the token of that corner."""
    torch.manual_seed(0)
    ours = Video3D(widths=(8, 16), blocks=(1, 1)).eval()
    values = torch.zeros(1, 6, 3, 32, 32)
    mask = torch.ones(1, 6, dtype=torch.bool)
    blank = ours(Modality(values.clone(), mask)).values[0]
    values[0, 4, :, -4:, :3] = 1  # bottom left
    change = (ours(Modality(values, mask)).values[0] - blank).norm(dim=-1)
    assert change.argmax() == 2 * 64 + 7 * 8, "3 moments of 8 x 8 cells"


def test_pretrained_weights_of_a_file(tmp_path: Path) -> None:
    """torchvision's file gives torchvision's network, for input standardised as all videos here are."""
    theirs = reference().eval()
    torch.save(theirs.state_dict(), tmp_path / "r3d.pth")
    ours = Video3D.from_pretrained(tmp_path / "r3d.pth")
    assert not ours.training and ours.weights == "pretrained"
    rgb = torch.rand(2, 5, 3, 32, 32)

    def standardised(mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
        return (rgb - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]

    mask = torch.ones(2, 5, dtype=torch.bool)
    with torch.no_grad():
        found = ours(Modality(standardised(IMAGENET_MEAN, IMAGENET_STD), mask)).values
        expected = grid(theirs, standardised(KINETICS_MEAN, KINETICS_STD))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_preset_is_torchvisions() -> None:
    from torchvision.models.video import R3D_18_Weights

    preset = R3D_18_Weights.KINETICS400_V1.transforms()
    assert (tuple(preset.mean), tuple(preset.std)) == (KINETICS_MEAN, KINETICS_STD)


def test_relatives_are_refused() -> None:
    from torchvision.models.video import mc3_18, r2plus1d_18

    with torch.device("meta"):
        with pytest.raises(ValueError, match="Conv3DNoTemporal"):
            Video3D.from_reference(mc3_18())
        with pytest.raises(ValueError, match=r"Conv2Plus1D, R2Plus1dStem"):
            Video3D.from_reference(r2plus1d_18())


def test_a_weight_that_is_not_used_stops_the_load() -> None:
    theirs = reference()
    theirs.layer2[0].conv1.add_module("9", nn.Linear(2, 2))
    with pytest.raises(RuntimeError, match=r"Unexpected.*blocks\.1\.conv1\.9\.weight"):
        Video3D.from_reference(theirs)


def test_what_does_not_fit_is_named() -> None:
    ours = Video3D(widths=(8,), blocks=(1,))
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 32, 32\).*VideoProcessor"):
        ours(Modality(torch.zeros(2, 3, 4, 32, 32), torch.ones(2, 3, dtype=torch.bool)))
    with pytest.raises(ValueError, match="padding before"):
        ours(Modality(torch.zeros(1, 3, 3, 32, 32), torch.tensor([[True, False, True]])))
    with pytest.raises(ValueError, match=r"\(8, 16\) and blocks \(1,\)"):
        Video3D(widths=(8, 16), blocks=(1,))
