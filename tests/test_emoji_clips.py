"""EmojiClips: what a frame, the frames without their order, and the sound cannot say, by construction."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from mmbook import collate
from mmbook.book.datasets import EmojiClips
from mmbook.book.datasets.emoji_clips import (
    ACTIONS,
    FRAMES,
    SCALES,
    SPEEDS,
    emoji_of,
    glide,
    phases,
    render,
)
from mmbook.book.datasets.emoji_drawings import drawn
from mmbook.book.datasets.splits import SPLITS
from mmbook.preprocess import VideoProcessor
from mmbook.seeding import stream

WHITE = torch.full((3, 64, 64), 255.0)


def ink(frames: Tensor) -> Tensor:
    """How dark each pixel is: ``(T, 3, S, S)`` to ``(T, S, S)``."""
    return 255 - frames.float().mean(dim=1)


def clip_of(action: str, start: tuple[float, ...], speed: float = 0.5, char: str = "🐘") -> Tensor:
    return render(char, phases(ACTIONS.index(action), np.array(start), speed), WHITE)


def centre(frames: Tensor, dim: int) -> Tensor:
    """Where the ink is, along height (0) or width (1): ``(T,)`` in pixels."""
    weight = ink(frames).sum(dim=2 - dim)
    return (weight * torch.arange(weight.shape[1])).sum(dim=1) / weight.sum(dim=1)


def test_rows_are_what_collate_takes() -> None:
    data = EmojiClips("valid", 8, size=32)
    row = data[3]
    assert row["video"].shape == (FRAMES, 3, 32, 32) and row["video"].dtype == torch.float32
    assert row["audio"].shape == (32000,) and row["audio"].dtype == torch.float32
    assert row["labels"] == data.labels[3] and row["id"] == 3
    assert torch.equal(row["video"], VideoProcessor(32, FRAMES)(data.raw(3).frames))
    assert collate([data[0], data[1]])["video"].shape == (2, FRAMES, 3, 32, 32)
    assert "audio" not in EmojiClips("valid", 8, modalities=("video",))[0]


def test_actions_are_what_they_are_called() -> None:
    middle = (0.5, 0.5, 0.2, 0.0)
    assert (centre(clip_of("moves right", (0.25, 0.5, 0.2, 0)), 1).diff() > 0).all()
    assert (centre(clip_of("moves left", (0.75, 0.5, 0.2, 0)), 1).diff() < 0).all()
    assert (centre(clip_of("moves down", (0.5, 0.25, 0.2, 0)), 0).diff() > 0).all()
    assert (centre(clip_of("moves up", (0.5, 0.75, 0.2, 0)), 0).diff() < 0).all()
    assert (ink(clip_of("grows", middle)).sum(dim=(1, 2)).diff() > 0).all()
    assert (ink(clip_of("shrinks", (0.5, 0.5, 0.9, 0))).sum(dim=(1, 2)).diff() < 0).all()
    # a quarter of a turn: what was the top of the picture is its right side, or its left
    for action, quarters in (("turns clockwise", -1), ("turns anticlockwise", 1)):
        turned = clip_of(action, (0.5, 0.5, 0.9, 0.0), speed=FRAMES / 4)  # a quarter a frame
        torch.testing.assert_close(
            turned[1].float(), torch.rot90(turned[0], quarters, dims=(1, 2)).float(), atol=2, rtol=0
        )


@pytest.mark.parametrize("quantity", range(4))
def test_a_clip_run_backwards_is_a_clip_of_the_opposite_action(quantity: int) -> None:
    """So the frames without their order cannot tell the two apart: the set of frames is the same."""
    start, speed = np.array([0.1, 0.6, 0.3, 0.8]), 0.9
    forth = phases(2 * quantity + 1, start, speed)
    opposite = phases(2 * quantity, forth[-1], speed)
    np.testing.assert_allclose((opposite[::-1] - forth + 0.5) % 1, 0.5, atol=1e-12)
    a, b = render("🐘", forth, WHITE), render("🐘", opposite, WHITE)
    assert ((a.int() - b.flip(0).int()).abs() <= 1).all()


def test_every_frame_is_equally_likely_under_all_actions() -> None:
    """The start is uniform on its cycle and the motion only shifts it: Kolmogorov-Smirnov against uniform."""
    from scipy.stats import kstest

    random = np.random.default_rng(0)
    for label in range(len(ACTIONS)):
        made = [phases(label, random.uniform(size=4), random.uniform(*SPEEDS)) for _ in range(400)]
        at = np.stack(made)  # (400, 16, 4)
        assert min(kstest(at[:, t, q], "uniform").pvalue for t in (0, 7, 15) for q in range(4)) > 1e-4


def test_the_picture_is_a_torus() -> None:
    """What leaves on one side comes in on the other, and nothing else changes."""
    frames = clip_of("moves right", (0.9, 0.5, 0.5, 0.3), speed=FRAMES * 16 / 64)  # 16 pixels a frame
    for t in range(1, FRAMES):
        shifted = frames[0].roll(16 * t, dims=-1)
        assert ((frames[t].int() - shifted.int()).abs() <= 1).all()


def test_the_sound_follows_the_way_and_not_the_quantity() -> None:
    def pitch(wave: np.ndarray) -> float:
        return float(np.abs(np.fft.rfft(wave * np.hanning(len(wave)))).argmax() * 16000 / len(wave))

    for i in range(12):
        for octaves in (0.8, -0.8):
            wave = glide(stream("test", i), octaves)
            assert np.abs(wave).max() <= 1 and len(wave) == 32000
            early, late = pitch(wave[4000:7000]), pitch(wave[-7000:-4000])
            expected = octaves * (32000 - 11000) / 32000
            assert np.log2(late / early) == pytest.approx(expected, abs=0.15)


def test_it_is_a_function_of_seed_split_and_index() -> None:
    data, again, other = EmojiClips("test", 24), EmojiClips("test", 8), EmojiClips("test", 8, seed=1)
    assert np.array_equal(data.labels[:8], again.labels)
    for _ in range(2):  # in any order
        for i in (5, 2):
            assert torch.equal(data.raw(i).frames, again.raw(i).frames)
            assert np.array_equal(data.raw(i).sound, again.raw(i).sound)
    assert not torch.equal(again.raw(0).frames, other.raw(0).frames)
    with pytest.raises(IndexError):
        again[8]


def test_labels_are_even() -> None:
    counts = np.bincount(EmojiClips("train").labels)
    assert (counts == 200).all()


def test_splits_share_no_emoji() -> None:
    parts = [set(emoji_of(split)) for split in SPLITS]
    assert all(len(part) >= 20 for part in parts)
    assert len(set.union(*parts)) == sum(len(part) for part in parts)
    data = EmojiClips("test", 40)
    assert {data.raw(i).emoji for i in range(10)} <= parts[2]
    ids = data.clusters["emoji"]
    assert [data.raw(i).emoji for i in range(5)] == [emoji_of("test")[k] for k in ids[:5]]


def test_no_emoji_looks_alike_when_turned() -> None:
    """Else its turning could not be seen, and the label would be wrong."""
    for char in (char for split in SPLITS for char in emoji_of(split)):
        picture = Image.open(io.BytesIO(drawn("twemoji")[f"{ord(char):x}"])).convert("RGBA")
        found = []
        for grey in (60, 220):
            canvas = Image.new("RGBA", (72, 72), (grey,) * 3)
            canvas.alpha_composite(picture)
            small = canvas.convert("RGB").resize((36, 36))
            upright = np.asarray(small, dtype=float)
            turns = (small.rotate(degrees, fillcolor=(grey,) * 3) for degrees in range(30, 331, 30))
            found.append([np.abs(np.asarray(turn, dtype=float) - upright).mean() for turn in turns])
        assert np.mean(found, axis=0).min() > 4, char


def test_it_can_be_played() -> None:
    page = EmojiClips("train", 8).show(0).data
    assert "data:video/webm;base64," in page and "moves" not in page.split("<summary>")[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "all"}, "'all'.*train"),
        ({"count": 0}, "count is 0"),
        ({"size": 33}, "size 33"),
        ({"modalities": ("text",)}, "'text'.*video, audio"),
    ],
)
def test_impossible_arguments_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EmojiClips(**options)  # type: ignore[arg-type]


def test_an_emoji_never_meets_itself_over_the_edge() -> None:
    """Its diagonal is shorter than the picture, at any angle."""
    assert SCALES[1] * 2**0.5 < 1
