"""Framewise: pictures one by one, in any company, with any image encoder inside."""

from __future__ import annotations

import pytest
import torch

from mmbook import Modality
from mmbook.encoders import ENCODERS, LSTM, Flattened, Framewise, Pooled, Projected, SmallCNN, build_encoder


def video(lengths: tuple[int, ...] = (5, 3), size: int = 32) -> Modality:
    torch.manual_seed(1)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return Modality(torch.randn(len(lengths), max(lengths), 3, size, size), mask)


def test_a_token_is_the_mean_over_the_grid_of_its_frame() -> None:
    torch.manual_seed(0)
    cnn = SmallCNN((8, 16))
    data = video()
    found = Framewise(cnn)(data)
    assert found.values.shape == (2, 5, 16) and torch.equal(found.mask, data.mask)
    for row in range(2):
        for t in range(5):
            frame = cnn(Modality(data.values[row, t][None, None], torch.ones(1, 1, dtype=torch.bool)))
            expected = frame.values[0].mean(dim=0) if data.mask[row, t] else torch.zeros(16)
            torch.testing.assert_close(found.values[row, t], expected, atol=1e-6, rtol=1e-5)


def test_pooled_over_time_it_cannot_tell_the_way_of_time() -> None:
    encoder = Pooled(Framewise(SmallCNN((8, 16))))
    forth = video((5, 5))
    back = Modality(forth.values.flip(1), forth.mask)
    torch.testing.assert_close(encoder(back).values, encoder(forth).values)


def test_flattened_inside_keeps_the_places() -> None:
    """A spot on the left and one on the right: the same mean over the grid, other cells."""
    torch.manual_seed(0)
    encoder = Framewise(Flattened(SmallCNN((8,)), tokens=256))
    assert encoder.out_dim == 256 * 8
    frames = torch.zeros(1, 2, 3, 32, 32)
    frames[0, 0, :, 12:20, 4:8] = frames[0, 1, :, 12:20, 24:28] = 1
    left, right = encoder(Modality(frames, torch.ones(1, 2, dtype=torch.bool))).values[0].view(2, 256, 8)
    torch.testing.assert_close(left.mean(dim=0), right.mean(dim=0), atol=1e-4, rtol=1e-4)
    assert (left - right).abs().max() > 0.1


@pytest.mark.parametrize("name", [name for name, cls in ENCODERS.items() if cls.reads == "image"])
def test_every_image_encoder_fits(name: str) -> None:
    small = {
        "small_cnn": {"channels": (8, 16)},
        "vgg": {"layers": (8, "M", 12, "M")},
        "resnet": {"depths": (1, 2), "widths": (8, 12), "stem": 8},
        "vit": {"size": 32, "width": 32, "layers": 2, "heads": 4, "hidden": 48},
        "mobilenet_v2": {"stages": ((1, 8, 1, 1), (6, 16, 2, 2)), "stem": 8, "out_dim": 24},
    }
    encoder = Framewise(Projected(build_encoder(name, **small.get(name, {})), 10)).train()
    data = video((4, 2, 0))
    output = encoder(data)
    assert output.values.shape == (3, 4, 10) and output.values.isfinite().all()
    assert not output.values[~output.mask].any()
    encoder(Modality(data.values, torch.zeros_like(data.mask))).values.sum().backward()
    for key, parameter in encoder.named_parameters():
        assert parameter.grad is not None, f"{key} is out of the graph when no row has a video"


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ValueError, match=r"LSTM reads 'audio'.*image"):
        Framewise(LSTM(width=8))
    with pytest.raises(ValueError, match=r"\(2, 3, 32, 32\).*VideoProcessor"):
        Framewise()(Modality(torch.zeros(2, 3, 32, 32), torch.ones(2, 3, dtype=torch.bool)))
