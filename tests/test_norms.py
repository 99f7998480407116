"""Norms of a single value: batch norm uses its running statistics, group norm gives its bias."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from mmbook import Modality
from mmbook.encoders import VGG, MobileNetV2, ResNet, SmallCNN, Video3D, Wav2Vec2
from mmbook.encoders.batch_norm import BatchNorm2d
from mmbook.train.batch_norm import SyncedNorms

MAKE: dict[str, Any] = {
    "resnet": lambda: ResNet((1, 1, 1, 1), widths=(8, 8, 12, 16), stem=8),
    "bottleneck": lambda: ResNet((1, 1, 1, 1), "bottleneck", widths=(4, 4, 6, 8), stem=8),
    "vgg": lambda: VGG((8, "M", 8, "M", 8, "M", 8, "M", 12, "M", 12), batch_norm=True),
    "mobilenet_v2": lambda: MobileNetV2(((1, 8, 1, 1), *((6, 8, 1, 2) for _ in range(4))), 8, 16),
    "video3d": lambda: Video3D((8, 8, 8, 8, 8), (1, 1, 1, 1, 1)),
}


@pytest.fixture(params=MAKE)
def encoder(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return MAKE[request.param]()


def frames(rows: int, missing: tuple[int, ...] = ()) -> Modality:
    torch.manual_seed(1)
    values, mask = torch.randn(rows, 1, 3, 32, 32), torch.ones(rows, 1, dtype=torch.bool)
    mask[list(missing)] = False
    return Modality(values.masked_fill(~mask[:, :, None, None, None], float("nan")), mask)


def statistics(model: nn.Module) -> list[Tensor]:
    return [buffer.clone() for buffer in model.buffers()]


@pytest.mark.parametrize("missing", [(), (0, 2)])
def test_one_real_picture_trains(encoder: nn.Module, missing: tuple[int, ...]) -> None:
    """All gradients are there and finite, and no statistic becomes NaN; 32 pixels end as 1 x 1."""
    encoder.train()
    output = encoder(frames(1 + len(missing), missing))
    assert int(output.mask.sum()) == 1, "one cell: one value a channel in the last norms"
    (output.values * torch.randn_like(output.values)).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name
    assert all(buffer.isfinite().all() for buffer in statistics(encoder))


def test_the_output_of_one_picture_depends_on_the_picture(encoder: nn.Module) -> None:
    """Normalised by itself alone, every picture would become the shift of the norm."""
    encoder.train()
    one, two = (encoder(Modality(frames(2).values[i : i + 1], frames(1).mask)).values for i in (0, 1))
    assert (one - two).abs().max() > 1e-3


@pytest.mark.parametrize("pictures", [1, 3])
def test_one_value_leaves_the_running_statistics_and_several_move_them(pictures: int) -> None:
    """With several values it is torch's batch norm, number by number."""
    ours, theirs = BatchNorm2d(4), nn.BatchNorm2d(4)
    x = torch.randn(pictures, 4, 1, 1)
    before = statistics(ours)
    y = ours(x)
    if pictures == 1:
        assert all(torch.equal(a, b) for a, b in zip(statistics(ours), before, strict=True))
        torch.testing.assert_close(y, ours.eval()(x), atol=0, rtol=0)
        with pytest.raises(ValueError, match="more than 1 value"):
            theirs(x)
    else:
        torch.testing.assert_close(y, theirs(x), atol=0, rtol=0)
        assert all(torch.equal(a, b) for a, b in zip(statistics(ours), statistics(theirs), strict=True))


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_statistics_over_all_processes_replace_those_of_every_norm(
    encoder: nn.Module, process_group: None
) -> None:
    """`SyncedNorms` finds each norm's place for statistics, and of one process it changes nothing."""
    encoder.train()
    data = frames(5, missing=(1,))
    start = {name: value.clone() for name, value in encoder.state_dict().items()}
    alone = encoder(data).values
    moved = statistics(encoder)
    encoder.load_state_dict(start)
    synced = SyncedNorms(encoder)
    torch.testing.assert_close(encoder(data).values, alone, atol=1e-4, rtol=1e-4)
    for found, expected in zip(statistics(encoder), moved, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    synced.undo()
    encoder.load_state_dict(start)
    torch.testing.assert_close(encoder(data).values, alone, atol=0, rtol=0)


def test_group_norm_of_one_number_a_group_takes_a_batch_of_one() -> None:
    """Of one number nothing is left but the bias, whether one picture or several are in the batch."""
    small = SmallCNN((8,), groups=8)
    wave = Wav2Vec2(
        (8,), (10,), (5,), width=16, layers=1, heads=2, hidden=24, position_kernel=6, position_groups=2
    ).eval()
    for encoder, item in ((small, torch.randn(3, 1, 3, 2, 2)), (wave, torch.randn(3, 12))):
        for norm in encoder.modules():
            if isinstance(norm, nn.GroupNorm):
                nn.init.normal_(norm.bias)
        together = encoder(Modality(item, torch.ones(item.shape[:2], dtype=torch.bool))).values
        for row in range(3):
            alone = encoder(Modality(item[row : row + 1], torch.ones(1, item.shape[1], dtype=torch.bool)))
            torch.testing.assert_close(alone.values[0], together[row], atol=1e-4, rtol=1e-4)
