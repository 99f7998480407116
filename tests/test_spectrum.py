"""Frames, window, transform, filters and decibels against torch and torchaudio; and back without loss."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mmbook.book.datasets.speech import recordings
from mmbook.book.written.spectrum import decibels, inverse_stft
from mmbook.preprocess.spectrum import frames, hann, mel_filterbank, power, stft

# size of a frame, hop: even and odd, a hop that does not divide the frame, a size that is no power of two
SIZES = [(400, 160), (512, 128), (401, 100), (7, 3), (64, 64)]


def waves() -> list[Tensor]:
    """Noise of odd and even length, several at once, a tone, two synthetic voices."""
    torch.manual_seed(0)
    tone = torch.sin(2 * math.pi * 440 * torch.arange(4001) / 16000)
    spoken = [torch.from_numpy(recordings().sound(i)) for i in (3, 500)]
    return [torch.randn(4000), torch.randn(4567), torch.randn(2, 3, 1001), tone, *spoken]


def test_frames() -> None:
    wave = torch.arange(10.0)
    assert frames(wave, 4, 3).tolist() == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    assert frames(wave.expand(2, 5, 10), 10, 1).shape == (2, 5, 1, 10)
    assert frames(wave, 4, 3).data_ptr() == wave.data_ptr(), "a view"
    with pytest.raises(ValueError, match="10 samples is shorter than one frame of 11"):
        frames(wave, 11, 1)
    with pytest.raises(ValueError, match="hop 0"):
        frames(wave, 4, 0)


@pytest.mark.parametrize("size", [2, 3, 64, 400, 401])
def test_window(size: int) -> None:
    torch.testing.assert_close(hann(size), torch.hann_window(size), atol=1e-6, rtol=0)
    if size % 2 == 0:  # a window and its neighbour half a size away
        torch.testing.assert_close(hann(size) + hann(size).roll(size // 2), torch.ones(size))


@pytest.mark.parametrize(("size", "hop"), SIZES)
def test_stft_and_power_equal_torch_and_torchaudio(size: int, hop: int) -> None:
    """To 1e-6 of the largest value: a transform of a pure tone leaves rounding in all other places."""
    from torchaudio.transforms import Spectrogram

    window = torch.hann_window(size)
    for wave in waves():
        found = stft(wave, hann(size), hop).transpose(-1, -2)
        flat = wave.reshape(-1, wave.shape[-1])
        theirs = torch.stft(flat, size, hop, window=window, center=False, return_complex=True)
        theirs = theirs.reshape(found.shape)
        torch.testing.assert_close(found, theirs, atol=1e-6 * theirs.abs().max().item(), rtol=1e-5)
        spectrogram = Spectrogram(size, hop_length=hop, center=False)(wave)
        tolerance = 1e-6 * spectrogram.max().item()
        torch.testing.assert_close(power(found), spectrogram, atol=tolerance, rtol=1e-4)


@pytest.mark.parametrize(("size", "hop"), SIZES[:-1])
def test_back_and_forth_is_the_same_wave(size: int, hop: int) -> None:
    """Wherever some window is not zero, which at the first sample and after the last frame none is."""
    for wave in waves():
        back = inverse_stft(stft(wave, hann(size), hop), hann(size), hop)
        T = back.shape[-1]
        assert wave.shape[-1] - hop < T <= wave.shape[-1]
        assert not back[..., 0].any()
        # the first few samples lie under the foot of one window only: rounding is divided by next to nothing
        torch.testing.assert_close(back[..., size:-size], wave[..., size : T - size], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(back[..., 5:-5], wave[..., 5 : T - 5], atol=1e-2, rtol=1e-2)


def test_inverse_equals_torch_on_a_changed_spectrum() -> None:
    """Halving the upper half of the frequencies is no longer the transform of any wave's frames."""
    torch.manual_seed(0)
    wave, window = torch.randn(2, 4096), torch.hann_window(512)
    spectrum = torch.stft(wave, 512, 128, window=window, return_complex=True)  # centred
    spectrum[:, 128:] /= 2
    theirs = torch.istft(spectrum, 512, 128, window=window, length=4096)
    found = inverse_stft(spectrum.transpose(1, 2), hann(512), 128)[:, 256:-256]
    torch.testing.assert_close(found, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("n_fft", "n_mels", "rate"), [(400, 64, 16000), (512, 40, 16000), (401, 23, 22050), (2048, 128, 44100)]
)
def test_filterbank_equals_torchaudio(n_fft: int, n_mels: int, rate: int) -> None:
    from torchaudio.functional import melscale_fbanks

    theirs = melscale_fbanks(n_fft // 2 + 1, 0.0, rate / 2, n_mels, rate)
    torch.testing.assert_close(mel_filterbank(n_fft, n_mels, rate), theirs, atol=2e-5, rtol=0)


@pytest.mark.filterwarnings("ignore:At least one mel filterbank has all zero values")
@pytest.mark.parametrize(("size", "hop"), SIZES[:3])
def test_mel_decibels_equal_torchaudio_on_speech(size: int, hop: int) -> None:
    """All steps in a row, on a synthetic voice: to 0.01 dB over a range of some 100 dB."""
    from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

    wave = waves()[-1]
    theirs = AmplitudeToDB("power")(
        MelSpectrogram(16000, size, hop_length=hop, n_mels=40, center=False)(wave)
    )
    found = decibels(power(stft(wave, hann(size), hop)) @ mel_filterbank(size, 40, 16000))
    torch.testing.assert_close(found.T, theirs, atol=0.01, rtol=0)


def test_decibels() -> None:
    assert decibels(torch.tensor([1.0, 100.0, 0.01])).tolist() == pytest.approx([0, 20, -20])
    assert decibels(torch.zeros(1)).item() == pytest.approx(-100), "silence is finite"


def test_longer_frames_tell_closer_tones_apart() -> None:
    """Two tones 40 Hz apart are two peaks in a frame of 0.1 s, and one in a frame of 0.01 s."""
    time = torch.arange(16000) / 16000
    wave = torch.sin(2 * math.pi * 1000 * time) + torch.sin(2 * math.pi * 1040 * time)

    def peaks(size: int) -> int:
        spectrum = power(torch.fft.rfft(wave[:size] * hann(size), n=16000))[900:1140]
        inner = spectrum[1:-1]
        is_peak = (inner > spectrum[:-2]) & (inner > spectrum[2:]) & (inner > spectrum.max() / 10)
        return int(is_peak.sum())

    assert peaks(1600) == 2 and peaks(160) == 1
