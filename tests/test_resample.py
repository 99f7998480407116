"""Resampling against torchaudio, and against what a resampler must do to tones."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from mmbook.book.datasets.speech import RATE, recordings
from mmbook.preprocess import AudioProcessor
from mmbook.preprocess.audio import FILTER_NUMBERS, ROLLOFF, ZEROS, resample

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


class Counted(TorchDispatchMode):
    """Counts the numbers that torch's functions make: how many in all, and in the largest tensor."""

    total, largest = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in pytree.tree_leaves(out):
            if isinstance(tensor, Tensor):
                self.total += tensor.numel()
                self.largest = max(self.largest, tensor.numel())
        return out


ANY_RATES = [7_999, 11_027, 44_056, 44_100, 47_952, 96_001, 192_000]


@pytest.mark.parametrize("milliseconds", [1, 180, 700])
@pytest.mark.parametrize("rate", ANY_RATES)
def test_no_rate_costs_more_than_a_multiple_of_its_samples(rate: int, milliseconds: int) -> None:
    """Numbers held and made, and products: torchaudio makes 900 million of 2,000 samples at 11,027 Hz."""
    wave = torch.randn(max(1, rate * milliseconds // 1000))
    for old, new in ((rate, RATE), (RATE, rate)):
        with Counted() as counted, FlopCounterMode(display=False) as flops:
            found = resample(wave, old, new)
        taps = 2 * math.ceil(ZEROS / ROLLOFF * max(1, old / new))
        size = len(wave) + len(found) + taps
        assert len(found) == -(-len(wave) * new // old)
        assert counted.largest <= FILTER_NUMBERS + 4 * size
        assert counted.total <= 1000 * size
        assert flops.get_total_flops() <= 400 * size  # each output: some filters' length of products and sums


@pytest.mark.parametrize("rate", [2**31 - 1, 999_999_937, 1])
def test_absurd_rates_are_as_cheap(rate: int) -> None:
    """A header may state anything: what counts is how many samples there are."""
    with Counted() as counted:
        found = AudioProcessor()((torch.randn(2000), rate))
    assert found.isfinite().all() and counted.largest < 3 * 2**22


@pytest.mark.parametrize("old", [11_027, 44_056, 47_952, 7_999])
def test_rates_without_a_common_divisor_follow_the_formula(old: int) -> None:
    """Outputs here and there, each as the sum over all samples that its definition is."""
    wave = torch.randn(2500, dtype=torch.float64)
    found = resample(wave, old, 16_000)
    cutoff = ROLLOFF * min(1, 16_000 / old)
    for i in range(0, len(found), 97):
        t = cutoff * (torch.arange(2500, dtype=torch.float64) - i * old / 16_000)
        window = torch.cos(math.pi / 2 * (t / ZEROS).clamp(-1, 1)) ** 2
        torch.testing.assert_close(found[i], (cutoff * torch.sinc(t) * window * wave).sum())


@pytest.mark.parametrize("old", [8_000, 24_000, 32_000, 48_000, 44_100, 11_027, 47_952])
def test_agrees_with_an_ideal_resampler(old: int) -> None:
    """SciPy's, by the Fourier transform, on sounds that fade in and out below 3 kHz: 45 dB apart or more."""
    from scipy.signal import resample as by_fourier

    new, seconds = 16_000, 1
    spectrum = torch.zeros(old // 2 + 1, dtype=torch.complex128)
    spectrum[100:3000] = torch.randn(2900, dtype=torch.complex128)
    wave = torch.fft.irfft(spectrum, n=old * seconds) * torch.hann_window(old * seconds, dtype=torch.float64)
    expected = torch.from_numpy(by_fourier(wave.numpy(), new * seconds))
    error = (resample(wave, old, new) - expected).square().mean() / expected.square().mean()
    assert 10 * math.log10(error) < -45


@pytest.mark.parametrize("old", range(1, 16))
def test_all_small_rates_equal_torchaudio(old: int) -> None:
    """Whatever the divisor, and sounds of less than a period, a sample, nothing."""
    from torchaudio.functional import resample as reference

    for new, length in itertools.product(range(1, 16), (0, 1, 2, 13, 40)):
        wave = torch.randn(length, dtype=torch.float64)
        found = resample(wave, old, new)
        assert len(found) == -(-length * new // old)
        if length:
            torch.testing.assert_close(found, reference(wave, old, new), atol=1e-11, rtol=1e-11)


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
