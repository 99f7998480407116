"""A log-mel spectrogram that a telephone would pass and a microphone cannot colour.

A recording is speech times a channel: how loud it was, what the microphone and the room do to each frequency,
and where the band ends. In the logarithm the product is a sum, and what is the same in all frames of a
recording is gone once each band's mean over the recording is subtracted: cepstral mean subtraction (Atal
1974, https://doi.org/10.1121/1.1914702). It takes some of the speech with it, most in a short word, and is
worth it where training and test do not share their microphones.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from mmbook.encoders.log_mel import LogMel
from mmbook.modality import Modality
from mmbook.registry import register


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
