"""Log-mel spectrograms, the front ends of audio encoders; one of them blind to loudness and microphone.

A sound is cut into frames of 25 ms, one every 10 ms; each frame is faded at its ends by a window; the Fourier
transform says how much power it has at each frequency; triangular filters, evenly spaced on the mel scale of
pitch (Stevens, Volkmann and Newman 1937, https://doi.org/10.1121/1.1915893), sum that power; the logarithm
follows, as loudness is heard.

A recording is speech times a channel: how loud it was, what the microphone and the room do to each frequency.
In the logarithm the product is a sum, and what is the same in all frames of a recording is gone once each
band's mean over the recording is subtracted: cepstral mean subtraction (Atal 1974,
https://doi.org/10.1121/1.1914702), which `TelephoneMel` does. It takes some of the speech with it, most in a
short word, and is worth it where training and test do not share their microphones.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mmbook.modality import Modality
from mmbook.preprocess.spectrum import hann, mel_filterbank, power, stft
from mmbook.registry import register


def checked_waves(audio: Modality) -> Modality:
    """Waveforms ``(B, T)``, zero under the mask.

    Raises:
        ValueError: another shape or type; padding before or between the samples.
    """
    if audio.values.dim() != 2 or not audio.values.is_floating_point():
        raise ValueError(
            f"audio has {audio.values.dtype} values of shape {tuple(audio.values.shape)}; it must be "
            f"float (B, T), as AudioProcessor and collate make it"
        )
    check_padding(audio.mask, "audio", "samples")
    return audio.cleaned()


def check_padding(mask: Tensor, what: str, steps: str) -> None:
    """Refuse a ``(B, T)`` mask with padding before or between the real steps of a row."""
    # a traced graph cannot branch on values, so it goes without this check
    if not torch.compiler.is_compiling() and (mask[:, 1:] & ~mask[:, :-1]).any():
        raise ValueError(f"{what} has padding before real {steps}; put all padding at the end of the row")


@register
class LogMel(nn.Module):
    """Waveforms ``(B, T)`` at `rate` to standardised log-mel frames ``(B, T', n_mels)``, without parameters.

    Frame t covers the samples from ``t * hop`` to ``t * hop + n_fft``, all of them inside the sound. The
    other custom, frames centred on ``t * hop`` with the ends of the sound mirrored, would mirror the padding
    in a padded batch. A row of n samples has ``1 + (n - n_fft) // hop`` frames; a shorter row than one frame
    has one, filled up with silence; an empty row none.

    Args:
        rate: samples a second.
        n_fft, hop: samples in a frame, and from one frame to the next.
        n_mels: filters, `out_dim`.
        floor: power added before the logarithm, so that silence is finite.
        mean, std: subtracted from the logarithm, and divided by. Fixed numbers and not those of each sound:
            that would remove loudness, which carries feeling. The defaults are round numbers for speech that
            is quieter and has more pauses than the synthetic voices of the spoken reviews, whose frames come
            out with mean 0.5 and deviation 0.7.
    """

    window: Tensor
    filters: Tensor

    def __init__(
        self,
        rate: int = 16000,
        n_fft: int = 400,
        hop: int = 160,
        n_mels: int = 64,
        floor: float = 1e-6,
        mean: float = -7.5,
        std: float = 5.2,
    ) -> None:
        super().__init__()
        self.out_dim = n_mels
        self.n_fft, self.hop, self.floor, self.mean, self.std = n_fft, hop, floor, mean, std
        # not persistent: they follow from the config
        self.register_buffer("window", hann(n_fft), persistent=False)
        self.register_buffer("filters", mel_filterbank(n_fft, n_mels, rate), persistent=False)

    def mel(self, waves: Tensor) -> Tensor:
        """Mel power ``(B, T', n_mels)`` of waveforms ``(B, T)``, T at least `n_fft`.

        Equal to ``torchaudio.transforms.MelSpectrogram(rate, n_fft, hop_length=hop, n_mels=n_mels,
        center=False)``, which has the last two axes the other way round.
        """
        return power(stft(waves, self.window, self.hop)) @ self.filters

    def forward(self, audio: Modality) -> Modality:
        """Values ``(B, T)`` float, padding at the end of each row.

        Raises:
            ValueError: another shape; padding before or between the samples.
        """
        waves, mask = checked_waves(audio)
        waves = nn.functional.pad(waves, (0, max(0, self.n_fft - waves.shape[1])))
        # a spectrum needs the range of float32: half precision would lose the quiet bands
        with torch.autocast(waves.device.type, enabled=False):
            log = (self.mel(waves.float()) + self.floor).log()
        lengths = mask.sum(dim=1)
        counts = torch.where(lengths > 0, (lengths - self.n_fft).clamp(min=0) // self.hop + 1, 0)
        real = torch.arange(log.shape[1], device=log.device) < counts[:, None]
        return Modality((log - self.mean) / self.std, real).cleaned()


@register
class TelephoneMel(nn.Module):
    """Waveforms ``(B, T)`` at 16 kHz to log-mel frames ``(B, T', n_mels)``, 100 a second, without parameters.

    A front end, as `LogMel` is one: what is louder or coloured otherwise gives the same frames.

    Args:
        n_mels: bands up to some 4 kHz, the upper end of what a sound at 8 kHz holds; `out_dim`.
        range_db: what lies further below the loudest frame is levelled off, or the silence of a studio would
            differ from that of a street by more than any two words.
    """

    def __init__(self, n_mels: int = 40, range_db: float = 45.0) -> None:
        super().__init__()
        self.out_dim, self.range_db = n_mels, range_db
        # of bands evenly spaced in mel up to 8 kHz, three quarters lie below 4 kHz
        self.mel = LogMel(n_fft=512, n_mels=round(n_mels * 4 / 3), floor=1e-10, mean=0.0, std=1.0)

    def forward(self, audio: Modality) -> Modality:
        """Values ``(B, T)`` float, padding at the end of each row.

        Raises:
            ValueError: as `LogMel` does.
        """
        frames, mask = self.mel(audio)
        x = frames[..., : self.out_dim]  # (B, T', n_mels), log of power
        loudness = x.logsumexp(dim=2) - math.log(self.out_dim)  # (B, T'), of a frame
        loudest = loudness.masked_fill(~mask, -math.inf).amax(dim=1).clamp(min=-100)  # no frames: no -inf
        floor = loudest - self.range_db * math.log(10) / 10
        x = torch.logaddexp(x, floor[:, None, None])
        x = x - Modality(x, mask).pooled()[:, None]
        return Modality(x / 2.5, mask).cleaned()  # 2.5: about the standard deviation of speech
