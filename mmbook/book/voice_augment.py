"""A recording as another microphone in another room might have made it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmbook.registry import register

Wave = NDArray[np.float32]


@register
class VoiceAugmenter:
    """A sound ``(T,)`` and a seed to a sound ``(T',)`` of other speed, edges, room, microphone and noise.

    The steps come in the order in which they happen to a sound: who speaks, in which room, into what, with
    what around. The result depends on sound and seed alone: the same in every worker process and after a
    restart. With epoch and index packed into the seed, training can be resumed exactly.

    Args:
        speed: standard deviation of the log of the speed; pitch and resonances move along, as on a tape.
        edges: probability, at either end, that all is cut off up to where the sound is within 15 to 45 dB of
            its peak, be it a consonant; and of up to 0.2 s of silence.
        room: probability of reverberation, exponentially decaying noise (Moorer 1979,
            https://doi.org/10.2307/3680280), 60 dB down after 0.08 to 0.6 s.
        microphone: standard deviation in dB of a random smooth colour, with a random upper and lower end of
            the band; 0 leaves both as they are.
        noise: probability of noise, from hiss to rumble, with mains hum in it or not, 3 to 40 dB below the
            speech.
        clip: probability that the loudest samples are cut off; and of up to two gaps of at most 60 ms.
        rate: samples a second.

    Raises:
        ValueError: a probability outside 0 to 1; a negative `speed` or `microphone`.
    """

    def __init__(
        self,
        speed: float = 0.12,
        edges: float = 0.3,
        room: float = 0.4,
        microphone: float = 3.0,
        noise: float = 0.8,
        clip: float = 0.2,
        rate: int = 16_000,
    ) -> None:
        for name, share in {"edges": edges, "room": room, "noise": noise, "clip": clip}.items():
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is {share}; a probability lies between 0 and 1")
        if speed < 0 or microphone < 0:
            raise ValueError(f"speed is {speed} and microphone {microphone}; both must be at least 0")
        self.speed, self.edges, self.room, self.microphone = speed, edges, room, microphone
        self.noise, self.clip, self.rate = noise, clip, rate

    def __call__(self, sound: Tensor, seed: int) -> Tensor:
        """``(T',)`` float32, its peak at 0.5 or, if it is silent, as it was.

        Args:
            sound: ``(T,)`` float.
            seed: any integer.

        Raises:
            ValueError: a sound of another shape or without samples.
        """
        if sound.dim() != 1 or sound.numel() == 0:
            raise ValueError(f"the sound has shape {tuple(sound.shape)}; it must be (T,) with T above 0")
        random = np.random.default_rng(seed % 2**63)
        wave: Wave = sound.numpy().astype(np.float32)  # a copy: some steps write into it
        for step in (self._spoken, self._cut, self._recorded, self._disturbed, self._clipped, self._gapped):
            wave = step(wave, random)
        peak = np.abs(wave).max()
        return torch.from_numpy(wave * np.float32(0.5 / peak) if peak > 0 else wave)

    def _spoken(self, wave: Wave, random: np.random.Generator) -> Wave:
        if not self.speed or len(wave) < 2:
            return wave
        times = np.arange(0, len(wave) - 1, np.exp(self.speed * random.standard_normal()))
        return np.interp(times, np.arange(len(wave)), wave).astype(np.float32)

    def _cut(self, wave: Wave, random: np.random.Generator) -> Wave:
        """As if somebody had trimmed the recording by its loudness, closely or not at all."""
        trimmed, spaced = random.random((2, 2)) < self.edges
        smooth = np.abs(
            np.convolve(wave, np.full(4, 0.25, np.float32), "same")
        )  # deaf to hiss, as telephones
        loud = np.flatnonzero(smooth >= smooth.max() * 10 ** (-random.uniform(15, 45) / 20))
        start, end = loud[0] * trimmed[0], len(wave) if not trimmed[1] else loud[-1] + 1
        silence = (random.uniform(0, 0.2, 2) * spaced * self.rate).astype(int)
        return np.pad(wave[start:end], silence)

    def _recorded(self, wave: Wave, random: np.random.Generator) -> Wave:
        """Through room and microphone: one product for each frequency."""
        from scipy.fft import irfft, next_fast_len, rfft  # in float32, unlike older numpy's

        echo = self._reverberation(random) if random.random() < self.room else None
        if echo is None and not self.microphone:
            return wave
        size = next_fast_len(len(wave) + (self.rate // 20 if echo is None else len(echo)), real=True)
        spectrum = rfft(wave, size)
        if echo is not None:
            spectrum *= rfft(echo, size)
        if self.microphone:
            spectrum *= self._colour(np.linspace(0, self.rate / 2, len(spectrum)), random)
        return irfft(spectrum, size)[: len(wave)]

    def _reverberation(self, random: np.random.Generator) -> Wave:
        """Response of a room: the sound itself, then after 1 to 20 ms a tail 3 to 20 dB below it."""
        length = int(random.uniform(0.08, 0.6) * self.rate)
        tail = random.standard_normal(length, dtype=np.float32)
        tail *= np.exp(np.linspace(0, -3 * np.log(10), length, dtype=np.float32))
        tail[: int(random.uniform(0.001, 0.02) * self.rate)] = 0
        tail *= np.float32(10 ** (-random.uniform(3, 20) / 20)) / np.sqrt((tail**2).sum())
        tail[0] = 1
        return tail

    def _colour(self, hertz: NDArray[np.float64], random: np.random.Generator) -> Wave:
        """Gain at each frequency: a smooth curve, and Butterworth's slopes at the ends of the band."""
        knots = np.array([0, 150, 300, 600, 1000, 1600, 2400, 3200, 4000, 8000])
        drift = np.cumsum(random.standard_normal(len(knots)))
        decibels = self.microphone * (0.8 * (drift - drift.mean()) + 0.7 * random.standard_normal(len(knots)))
        grid = np.arange(0, 8001, 50)
        curve = np.interp(grid, knots, decibels)
        if random.random() < 0.6:
            low, order = random.uniform(60, 400), random.integers(1, 4)
            curve -= 10 * np.log10(1 + (low / np.maximum(grid, 1)) ** (2 * order))
        for _ in range(random.integers(0, 3)):  # what a bad line swallows (SpecAugment's masks of frequency)
            width = random.uniform(100, 700)
            curve -= random.uniform(5, 25) * (abs(grid - random.uniform(0, 4000)) < width / 2)
        if random.random() < 0.5:
            high, order = random.uniform(2200, 3900), random.integers(2, 8)
            curve -= 10 * np.log10(1 + (grid / high) ** (2 * order))
        return np.exp(np.interp(hertz, grid, curve).astype(np.float32) * np.float32(np.log(10) / 20))

    def _disturbed(self, wave: Wave, random: np.random.Generator) -> Wave:
        if random.random() >= self.noise:
            return wave
        size = 1 << 13
        hertz = np.maximum(np.fft.rfftfreq(size, 1 / self.rate), 30)
        hiss = np.fft.irfft(np.fft.rfft(random.standard_normal(size)) * hertz ** -random.uniform(0, 1.2))
        noise = np.resize(hiss / hiss.std(), len(wave))
        if random.random() < 0.25:
            mains = 2 * np.pi * random.choice([50, 60]) * np.arange(len(wave)) / self.rate
            noise = noise + sum(random.uniform(0, 1.5) * np.sin(k * mains) for k in (1, 2, 3, 5))
        level = np.sqrt(np.mean(wave**2)) * 10 ** (-random.uniform(3, 40) / 20)
        return (wave + level * noise / (noise.std() + 1e-9)).astype(np.float32)

    def _clipped(self, wave: Wave, random: np.random.Generator) -> Wave:
        if random.random() >= self.clip:
            return wave
        limit = random.uniform(0.15, 0.7) * np.abs(wave).max()
        return wave.clip(-limit, limit)

    def _gapped(self, wave: Wave, random: np.random.Generator) -> Wave:
        for _ in range(random.integers(1, 3) if random.random() < self.clip else 0):
            start = random.integers(len(wave))
            wave[start : start + int(random.uniform(0.01, 0.06) * self.rate)] = 0
        return wave
