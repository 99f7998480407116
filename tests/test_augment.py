"""Augmentation: the same for the same seed, everywhere; torch's random state untouched; errors by name."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from mmbook.book.datasets.emoji_drawings import draw
from mmbook.book.image_augment import ImageAugmenter
from mmbook.preprocess import ImageProcessor
from mmbook.registry import build

NOTHING: dict[str, Any] = {"scale": (1.0, 1.0), "stretch": 1.0, "rotate": 0.0, "flip": 0.0, "colour": 0.0}
APPLE = "1f34e"


@pytest.fixture
def picture() -> Image.Image:
    return draw(APPLE, "twemoji")


def test_a_pure_function_of_picture_and_seed(picture: Image.Image) -> None:
    augment = ImageAugmenter(48)
    first = augment(picture, 3)
    assert first.shape == (1, 3, 48, 48) and first.dtype == torch.float32
    torch.rand(17), random.random()  # other draws in between
    assert torch.equal(augment(picture, 3), first)
    assert torch.equal(build(json.loads(json.dumps(augment.config)))(picture, 3), first)
    seeds = [augment(picture, seed) for seed in range(20)]
    assert all(not torch.equal(a, b) for i, a in enumerate(seeds) for b in seeds[:i])
    assert torch.equal(augment(picture, -5), augment(picture, -5)), "any integer is a seed"


def test_random_states_are_left_alone(picture: Image.Image) -> None:
    augment = ImageAugmenter(32)
    torch.manual_seed(0), random.seed(0)
    expected = torch.rand(5), random.random()
    torch.manual_seed(0), random.seed(0)
    augment(picture, 11)
    assert torch.equal(torch.rand(5), expected[0])
    assert random.random() == expected[1]
    torch.manual_seed(7)
    one = augment(picture, 11)
    torch.manual_seed(8)
    assert torch.equal(augment(picture, 11), one)


class Apples(Dataset[torch.Tensor]):
    def __init__(self) -> None:
        self.augment = ImageAugmenter(16)

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.augment(draw(APPLE, "twemoji"), index)


def test_the_same_in_worker_processes() -> None:
    alone = torch.stack([Apples()[i] for i in range(6)])
    workers = torch.cat(list(DataLoader(Apples(), batch_size=2, num_workers=2)))
    assert torch.equal(alone, workers)


def test_with_nothing_to_change_it_is_the_processor(picture: Image.Image) -> None:
    found = ImageAugmenter(40, **NOTHING)(picture, 0)
    torch.testing.assert_close(found, ImageProcessor(40)(picture), atol=1e-5, rtol=1e-5)


def test_each_option_does_what_it_says(picture: Image.Image) -> None:
    plain = ImageProcessor(72)(picture)
    flipped = ImageAugmenter(72, **(NOTHING | {"flip": 1.0}))(picture, 0)
    torch.testing.assert_close(flipped, plain.flip(-1), atol=1e-5, rtol=1e-5)

    def rgb(**options: Any) -> torch.Tensor:
        return ImageProcessor(72).undo(ImageAugmenter(72, **(NOTHING | options))(picture, 4))

    turned = rgb(rotate=45.0)
    corners = torch.stack([turned[0, 0], turned[0, -1], turned[-1, 0], turned[-1, -1]])
    torch.testing.assert_close(corners, torch.ones(4, 3), atol=1e-4, rtol=0)  # white, not black
    whole = ImageProcessor(72).undo(plain)
    assert (turned - whole).abs().mean() > 0.01
    ink = (whole.amin(dim=-1) < 0.9).float().mean()
    assert (rgb(scale=(0.5, 0.5)).amin(dim=-1) < 0.9).float().mean() > 1.2 * ink, "a part, enlarged"
    coloured = rgb(colour=0.5)
    assert (coloured - whole).abs().mean() > 0.01
    assert coloured.min() >= 0 and coloured.max() <= 1


def test_white_stays_white() -> None:
    """Turning brings in no dark hairline where the picture ends."""
    white = torch.ones(3, 50, 50)
    augment = ImageAugmenter(40, rotate=40.0, colour=0.0)
    for seed in range(5):
        found = ImageProcessor(40).undo(augment(white, seed))
        torch.testing.assert_close(found, torch.ones(40, 40, 3), atol=1e-5, rtol=0)


def test_a_tall_picture_is_not_squashed() -> None:
    """A disc in the middle of a picture twice as high as wide stays a disc."""
    y, x = torch.meshgrid(torch.arange(120) - 59.5, torch.arange(60) - 29.5, indexing="ij")
    disc = ((x**2 + y**2) > 20**2).float().expand(3, -1, -1)
    found = ImageProcessor(60).undo(ImageAugmenter(60, **NOTHING)(disc, 0))[..., 0] < 0.5
    height, width = found.any(dim=1).sum(), found.any(dim=0).sum()
    assert height == width == 40


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": (0.0, 1.0)}, r"scale is \(0.0, 1.0\)"),
        ({"scale": (0.9, 0.5)}, "least <= largest"),
        ({"stretch": 0.5}, "stretch is 0.5; it must lie between 1"),
        ({"rotate": -3}, "rotate is -3"),
        ({"flip": 1.5}, "flip is 1.5.*between 0 and 1"),
        ({"colour": float("nan")}, "colour is nan"),
        ({"size": 0}, "size is 0"),
    ],
)
def test_impossible_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageAugmenter(**options)


def test_wrong_seeds_and_pictures_are_named(picture: Image.Image) -> None:
    augment = ImageAugmenter(16)
    for seed in (0.5, None, True, "3"):
        with pytest.raises(TypeError, match=r"seed is .*must be an integer"):
            augment(picture, seed)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        augment("nowhere.png", 0)
