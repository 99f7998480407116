"""Resampling against torchaudio, and against what a resampler must do to tones."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mmbook.book.datasets.speech import RATE, recordings
from mmbook.preprocess.audio import resample

RATES = [
    (16000, 8000),
    (8000, 16000),
    (44100, 16000),
    (16000, 44100),
    (22050, 16000),
    (11025, 16000),
    (48000, 22050),
    (800, 799),
    (7, 3),
    (3, 7),
    (1, 5),
    (5, 1),
]


def tone(hertz: float, rate: int, seconds: float = 0.5) -> Tensor:
    return torch.sin(2 * math.pi * hertz * torch.arange(round(rate * seconds)) / rate)


def speech(index: int = 11) -> Tensor:
    return torch.from_numpy(recordings().sound(index))


@pytest.mark.parametrize(("old", "new"), RATES)
def test_equals_torchaudio(old: int, new: int) -> None:
    """To rounding in float64; in float32 to 2e-4 of the peak, as far as torchaudio's filters are off."""
    from torchaudio.functional import resample as reference

    torch.manual_seed(0)
    waves = [torch.randn(length) for length in (1, 2, 17, 999, 8001)] + [speech(), torch.randn(2, 3, 501)]
    for wave in waves:
        exact, expected = resample(wave.double(), old, new), reference(wave.double(), old, new)
        torch.testing.assert_close(exact, expected, atol=1e-11, rtol=1e-11)
        peak = wave.abs().max().item()
        torch.testing.assert_close(
            resample(wave, old, new), reference(wave, old, new), atol=2e-4 * peak, rtol=0
        )
        torch.testing.assert_close(resample(wave, old, new).double(), exact, atol=1e-6 * peak, rtol=0)


def test_length_is_exact_also_for_long_sounds() -> None:
    """44.1 to 16 kHz is 441 to 160. Where the product is rounded in float32, a sample goes missing."""
    for length in (400_315, 160_001, 441, 440, 1):
        assert len(resample(torch.zeros(length), 44100, 16000)) == -(-length * 160 // 441)


@pytest.mark.parametrize(("old", "new"), [(44100, 16000), (16000, 44100), (16000, 22050)])
def test_a_tone_stays_that_tone(old: int, new: int) -> None:
    found, expected = resample(tone(440, old), old, new), tone(440, new)
    torch.testing.assert_close(found[400:-400], expected[400:-400], atol=2e-3, rtol=0)


def test_what_the_lower_rate_cannot_hold_is_removed() -> None:
    """Of the same tone every other sample is a tone, but another one: 3 kHz in place of 5."""
    high = tone(5000, 16000)
    assert high[::2].abs().max() > 0.9
    assert resample(high, 16000, 8000)[200:-200].abs().max() < 0.01


def test_there_and_back_keeps_the_band_of_speech() -> None:
    wave = speech()
    spectrum = torch.fft.rfft(wave)
    spectrum[int(len(spectrum) * 0.8) :] = 0  # the last fifth falls into the slope of the filter
    wave = torch.fft.irfft(spectrum, n=len(wave))
    back = resample(resample(wave, RATE, 44100), 44100, RATE)[: len(wave)]
    error = (back - wave)[100:-100].square().mean() / wave.square().mean()
    assert 10 * math.log10(error) < -40


@pytest.mark.filterwarnings("ignore:.*Profiler clears events")
def test_rates_without_a_common_divisor_need_little_memory() -> None:
    """All filters at once, each as long as a block, would be 64 MB."""
    from torch.profiler import ProfilerActivity, profile

    wave = torch.randn(4001)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        found = resample(wave, 4001, 4000)
    largest = max(event.self_cpu_memory_usage for event in record.events())
    assert found.shape == (4000,) and largest < 2e6


def test_gradient_passes() -> None:
    wave = torch.randn(50, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: resample(x, 5, 3), (wave,))


def test_the_same_rate_is_the_same_sound() -> None:
    wave = torch.randn(9)
    assert resample(wave, 8000, 8000) is wave


def test_impossible_rates_and_types_are_named() -> None:
    with pytest.raises(ValueError, match=r"0 and 16000.*whole numbers"):
        resample(torch.zeros(9), 0, 16000)
    with pytest.raises(ValueError, match=r"44\.1 and 16"):
        resample(torch.zeros(9), 44.1, 16)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"int16.*float"):
        resample(torch.zeros(9, dtype=torch.int16), 8000, 16000)
