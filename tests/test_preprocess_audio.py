"""AudioProcessor: every way a sound comes, and every way it can be broken."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from mmbook.preprocess import AudioProcessor
from mmbook.registry import build


def tone(rate: int, seconds: float = 0.5, hertz: float = 440.0) -> Tensor:
    return 0.5 * torch.sin(2 * math.pi * hertz * torch.arange(round(rate * seconds)) / rate)


def written(folder: Path, wave: Tensor, rate: int, name: str = "voice.wav", **options: str) -> Path:
    soundfile.write(folder / name, wave.numpy(), rate, **options)
    return folder / name


def test_shape_type_and_content(tmp_path: Path) -> None:
    wave = tone(16000)
    out = AudioProcessor()(written(tmp_path, wave, 16000, subtype="FLOAT"))
    assert out.dtype == torch.float32 and out.is_contiguous()
    torch.testing.assert_close(out, wave)
    torch.testing.assert_close(AudioProcessor()(str(tmp_path / "voice.wav")), wave)
    torch.testing.assert_close(AudioProcessor()(wave), wave)
    torch.testing.assert_close(AudioProcessor()((wave.numpy(), 16000)), wave)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.aiff", "a.ogg", "a.mp3"])
def test_every_format_keeps_the_tone(tmp_path: Path, name: str) -> None:
    out = AudioProcessor()(written(tmp_path, tone(16000, 1.0), 16000, name))
    loudest = torch.fft.rfft(out).abs().argmax() * 16000 / len(out)
    assert abs(loudest - 440) < 3 and abs(out.std() - 0.5 / math.sqrt(2)) < 0.02


@pytest.mark.parametrize("rate", [8000, 22050, 24000, 44100, 48000])
def test_resampling_keeps_the_tone(rate: int) -> None:
    """A tone sampled at another rate and resampled is the tone sampled at 16 kHz, but for the ends."""
    out = AudioProcessor()((tone(rate), rate))
    assert len(out) == 8000
    torch.testing.assert_close(out[400:-400], tone(16000)[400:-400], atol=2e-3, rtol=0)


def test_resampling_removes_what_the_lower_rate_cannot_hold() -> None:
    assert AudioProcessor()((tone(48000, hertz=15000.0), 48000))[400:-400].abs().max() < 0.01


@pytest.mark.parametrize(
    ("dtype", "scale", "zero"), [(np.int16, 2**15, 0), (np.int32, 2**31, 0), (np.uint8, 2**7, 128)]
)
def test_integers_are_scaled_by_their_range(dtype: Any, scale: int, zero: int) -> None:
    wave = tone(16000)
    integers = (wave.double().numpy() * scale + zero).round().astype(dtype)
    torch.testing.assert_close(AudioProcessor()((integers, 16000)), wave, atol=1 / scale + 1e-6, rtol=0)
    lowest = AudioProcessor()((np.array([np.iinfo(dtype).min], dtype), 16000))
    assert lowest.item() == -1


def test_channels_are_averaged(tmp_path: Path) -> None:
    left = tone(16000)
    stereo = torch.stack([left, -left / 2], dim=1)
    torch.testing.assert_close(AudioProcessor()((stereo, 16000)), left / 4)
    file = written(tmp_path, stereo, 16000, subtype="FLOAT")
    torch.testing.assert_close(AudioProcessor()(file), left / 4)


def test_long_sounds_are_cut(tmp_path: Path) -> None:
    file = written(tmp_path, tone(8000, 3.0), 8000)
    assert len(AudioProcessor(max_seconds=1.5)(file)) == 24000
    assert len(AudioProcessor(max_seconds=1.5)(torch.zeros(90000))) == 24000
    assert len(AudioProcessor()((np.zeros(1), 48000))) == 1, "the shortest sound is one sample"


@pytest.mark.parametrize("name", ["voice.wav", "voice.flac", "voice.aiff", "voice.ogg", "voice.mp3"])
def test_truncated_file_is_named(tmp_path: Path, name: str) -> None:
    file = written(tmp_path, torch.randn(16000) * 0.1, 16000, name)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"voice\."):
        AudioProcessor()(file)


def test_a_streamed_header_without_a_length_is_read(tmp_path: Path) -> None:
    """What a program writes into a pipe, where it cannot go back to fill in the length."""
    file = written(tmp_path, tone(16000), 16000)
    content = bytearray(file.read_bytes())
    at = content.find(b"data") + 4
    content[4:8] = content[at : at + 4] = b"\xff" * 4
    file.write_bytes(content)
    torch.testing.assert_close(AudioProcessor()(file), tone(16000), atol=1e-4, rtol=0)


@pytest.mark.parametrize("content", [b"", b"not a sound at all"])
def test_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "call.wav"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"call\.wav"):
        AudioProcessor()(file)


def test_file_without_samples_or_with_nan_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"empty\.wav has no samples"):
        AudioProcessor()(written(tmp_path, torch.zeros(0), 16000, "empty.wav"))
    with pytest.raises(ValueError, match=r"nan\.wav contains NaN"):
        AudioProcessor()(
            written(tmp_path, torch.tensor([0.0, float("nan")]), 16000, "nan.wav", subtype="FLOAT")
        )
    with pytest.raises(FileNotFoundError, match=r"gone\.wav"):
        AudioProcessor()(tmp_path / "gone.wav")


@pytest.mark.parametrize(
    ("sound", "message"),
    [
        (torch.zeros(0), "no samples"),
        (torch.tensor([1.0, float("inf")]), "infinity"),
        ((np.zeros((2, 16000)), 16000), r"\(2, 16000\).*transpose"),
        ((np.zeros((2, 2, 2)), 16000), r"\(2, 2, 2\)"),
        ((np.zeros(9), 0), "rate of 0"),
        ((np.zeros(9, np.int64), 16000), "int64"),
        ((np.zeros(9, bool), 16000), "bool"),
    ],
)
def test_impossible_array_is_named(sound: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AudioProcessor()(sound)


def test_other_objects_are_refused() -> None:
    with pytest.raises(TypeError, match=r"NoneType.*left out"):
        AudioProcessor()(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"ndarray.*\(array, rate\)"):
        AudioProcessor()(np.zeros(9))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_seconds 0"):
        AudioProcessor(max_seconds=0)


def test_config_rebuilds_it() -> None:
    again = build(AudioProcessor(rate=8000, max_seconds=0.25).config)
    assert len(again((tone(16000), 16000))) == 2000
