"""Spectral gating: exact where nothing is gated; what it gains on noisy speech and costs on clean."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mmbook.book.datasets.speech import RATE, recordings
from mmbook.book.written.denoise import noise_level, snr, spectral_gate
from mmbook.preprocess.spectrum import hann, power, stft

LENGTH = 2 * RATE


@pytest.fixture(scope="module")
def speech() -> list[Tensor]:
    """Two dozen synthetic phrases by the test voices."""
    every = recordings()
    return [torch.from_numpy(every.sound(i)) for i in every.of_split("test")[::37][:24]]


def noise(kind: str) -> Tensor:
    """Four seconds of it."""
    torch.manual_seed(0)
    if kind == "hum":
        time = torch.arange(2 * LENGTH) / RATE
        return sum(torch.sin(2 * math.pi * 50 * k * time + k) / k for k in range(1, 8))
    white = torch.randn(2 * LENGTH)
    if kind == "white":
        return white
    spectrum = torch.fft.rfft(white)  # pink: power falls with the frequency
    return torch.fft.irfft(spectrum / torch.arange(len(spectrum)).clamp(min=1).sqrt(), n=2 * LENGTH)


def mixed(clean: Tensor, kind: str, level: float) -> tuple[Tensor, Tensor]:
    """Speech with noise at `level` dB, and a clip of the noise from another time."""
    added = noise(kind)
    added = added * (clean.square().mean() / added[: len(clean)].square().mean()).sqrt() * 10 ** (-level / 20)
    return clean + added[: len(clean)], added[LENGTH + RATE :]


def gain(speech: list[Tensor], kind: str, level: float, clip: bool) -> float:
    """Mean gain in SNR, in dB."""
    total = 0.0
    for clean in speech:
        noisy, alone = mixed(clean, kind, level)
        assert snr(clean, noisy).item() == pytest.approx(level, abs=1e-3)
        found = spectral_gate(noisy, RATE, alone if clip else None)
        total += (snr(clean, found) - snr(clean, noisy)).item()
    return total / len(speech)


@pytest.mark.parametrize("kind", ["white", "pink", "hum"])
def test_gains_much_on_noisy_speech_when_it_knows_the_noise(speech: list[Tensor], kind: str) -> None:
    gains = [gain(speech, kind, level, clip=True) for level in (-5, 5, 15)]
    assert gains == sorted(gains, reverse=True), "the more noise, the more there is to gain"
    assert gains[0] > 6 and gains[1] > 4 and gains[2] > 2


@pytest.mark.parametrize("kind", ["white", "pink", "hum"])
def test_gains_when_it_has_to_find_the_noise_in_the_pauses(speech: list[Tensor], kind: str) -> None:
    for level in (-5, 5, 15):
        assert gain(speech, kind, level, clip=False) > 1.5


def test_costs_clean_speech_little(speech: list[Tensor]) -> None:
    """What is taken away is 20 dB below the speech; at 30 dB, where noise is hardly heard, nothing is won."""
    assert min(snr(clean, spectral_gate(clean, RATE)) for clean in speech) > 20
    assert -3 < gain(speech, "white", 30, clip=False) < 1


def test_noise_alone_is_lowered_by_nearly_the_floor() -> None:
    alone = noise("white")
    left = spectral_gate(alone[:LENGTH], RATE, alone[LENGTH:], floor=0.1)
    reduced = 10 * torch.log10(left.square().mean() / alone[:LENGTH].square().mean())
    assert -20.5 < reduced < -12, "a floor of 0.1 is -20 dB"


@pytest.mark.parametrize("length", [512, 513, 5000, 16001])
@pytest.mark.parametrize("rate", [16000, 11025])
def test_a_mask_of_one_gives_the_sound_back(length: int, rate: int) -> None:
    torch.manual_seed(0)
    wave = torch.randn(2, length)
    torch.testing.assert_close(spectral_gate(wave, rate, floor=1.0), wave, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(spectral_gate(wave, rate, threshold=-300.0), wave, atol=1e-5, rtol=1e-5)


def test_silence_and_loudness() -> None:
    """Silence stays silence; a sound ten times louder comes out ten times louder."""
    assert not spectral_gate(torch.zeros(2000), RATE).any()
    wave, _ = mixed(torch.sin(torch.arange(LENGTH) * 0.1), "white", 0)
    torch.testing.assert_close(
        spectral_gate(10 * wave, RATE), 10 * spectral_gate(wave, RATE), atol=1e-3, rtol=1e-3
    )


def test_rows_do_not_share_their_noise(speech: list[Tensor]) -> None:
    rows = torch.stack(
        [mixed(clean[:12000], "white", level)[0] for clean, level in zip(speech[:2], (0, 20), strict=True)]
    )
    alone = torch.stack([spectral_gate(row, RATE) for row in rows])
    torch.testing.assert_close(spectral_gate(rows, RATE), alone, atol=1e-6, rtol=1e-5)


def test_the_noise_is_found_in_the_pause() -> None:
    """A tone with a pause, in white noise: the level found is that of the noise, whatever the tone's."""
    torch.manual_seed(0)
    tone = 5 * torch.sin(0.3 * torch.arange(LENGTH)) * (torch.arange(LENGTH) > LENGTH // 3)
    hiss = torch.randn(LENGTH)
    window = hann(512)
    expected = power(stft(hiss, window, 128)).mean()
    assert noise_level(tone + hiss, window, 128).mean() == pytest.approx(expected.item(), rel=0.15)


def test_too_short_a_sound_is_named() -> None:
    with pytest.raises(ValueError, match="100 samples is shorter than one frame of 512"):
        spectral_gate(torch.zeros(100), RATE)
