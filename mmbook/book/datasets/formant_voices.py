"""Spoken digits from rules: a source and a filter, as speech was first synthesised.

A vowel is a buzz from the throat, shaped by the resonances of the mouth, its formants; an "s" is a hiss. So
a word is a row of targets, for three formants and for the strength of buzz, breath and hiss, and the mouth
moves smoothly from one to the next (Klatt 1980, https://doi.org/10.1121/1.383940). The vowels' targets are
those measured by Peterson and Barney 1952, https://doi.org/10.1121/1.1906875; the consonants' are near
Klatt's.

It sounds like a robot. But every number may be drawn anew for every voice, which no recording and no neural
voice allows: size of the mouth, accent, habits of timing, breath and pitch.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Spectrum = NDArray[np.float32]

BINS, HZ_PER_BIN, FRAMES_PER_SECOND = 601, 20, 80  # of the spectrum, as hibari's synthesis takes it
STEP = 0.0025  # s between the points of a track
SILENT = -80.0  # dB


class Phone(NamedTuple):
    """The targets of one sound; what is not given is silent."""

    formants: tuple[float, float, float]  # Hz, of a man's mouth
    ms: float  # how long it lasts
    buzz: float = SILENT  # dB
    breath: float = -45.0  # dB, noise through the formants
    hiss: float = SILENT  # dB, noise of the teeth and lips
    corner: float = 3000.0  # Hz, above which the hiss is full


def _vowel(f1: float, f2: float, f3: float, ms: float) -> Phone:
    return Phone((f1, f2, f3), ms, buzz=0)


PHONES = {
    "i": _vowel(270, 2290, 3010, 150),
    "I": _vowel(390, 1990, 2550, 90),
    "e": _vowel(450, 1950, 2550, 90),
    "E": _vowel(530, 1840, 2480, 110),
    "&": _vowel(660, 1720, 2410, 120),
    "a": _vowel(720, 1250, 2450, 110),
    "A": _vowel(730, 1090, 2440, 140),
    "O": _vowel(570, 840, 2410, 150),
    "o": _vowel(490, 900, 2350, 100),
    "U": _vowel(440, 1020, 2240, 90),
    "u": _vowel(300, 1250, 2240, 150),  # further forward than in 1952, as most say it now
    "V": _vowel(640, 1190, 2390, 130),
    "@": _vowel(500, 1450, 2450, 60),
    "R": _vowel(470, 1320, 1680, 90),
    "r": Phone((330, 1060, 1400), 70, buzz=-3),
    "w": Phone((290, 620, 2150), 70, buzz=-5),
    "n": Phone((260, 1450, 2500), 80, buzz=-9, breath=-60),
    "v": Phone((240, 1050, 2100), 60, buzz=-12, hiss=-38, corner=1000),
    "z": Phone((240, 1500, 2500), 90, buzz=-14, hiss=-9, corner=3400),
    "s": Phone((320, 1500, 2550), 120, hiss=0, corner=3400),
    "f": Phone((340, 1050, 2150), 100, hiss=-26, corner=1000),
    "T": Phone((320, 1300, 2550), 90, hiss=-26, corner=2500),
    "t": Phone((400, 1800, 2650), 15, breath=-26, hiss=-2, corner=3000),  # the burst after a closure
    "k": Phone((350, 1900, 2500), 20, breath=-24, hiss=-8, corner=1700),
    "h": Phone((400, 1700, 2600), 40, breath=-20, hiss=-32),
    "b": Phone((250, 1000, 2200), 50, buzz=-25, breath=SILENT),
    "d": Phone((300, 1700, 2600), 30, buzz=-12, breath=-60),  # a tap, as in "water"
    "_": Phone((350, 1700, 2600), 60, breath=SILENT),  # a closure
}

# The first of each digit is what most say; then other accents.
WORDS = (
    ("zIroU", "ziroU", "zI@roU", "sIroU", "zEro", "zEdo", "zir@U", "zIrou"),
    ("wVn", "wAn", "wVn@", "wOn", "vVn", "wan"),
    ("thu", "thUu", "_tu", "th@u", "tu", "thIu"),
    ("Tri", "TrIi", "fri", "sri", "tri", "Tdi", "Trii"),
    ("fOr", "fOR", "fO", "for", "fO@", "fo@", "fo"),
    ("faIv", "fAIv", "faIf", "faiv", "faEv", "fAi"),
    ("sI_ks", "si_ks", "zI_ks", "sE_ks", "sIks"),
    ("sEv@n", "sEvn", "sEvIn", "zEv@n", "sEb@n", "sEf@n", "s&v@n"),
    ("eI_th", "eI_t", "eI_", "eI", "ei_th", "EI_th", "E_th", "e_th"),
    ("naIn", "nAIn", "nain", "naIn@", "naEn"),
)
USUAL = 0.4  # share of voices that say a word the first way


class Formants(NamedTuple):
    """What one made speaker keeps from word to word."""

    pitch: float  # median, Hz
    tract: float  # formants times this
    bend: Floats  # (5,) factor on each formant, further
    accent: Floats  # (2, number of phones) factor on the first and the second formant of each
    centre: float  # share by which all formants move to the middle, as in careless speech
    width: float  # factor on the bandwidths
    tilt: float  # dB an octave, more than usual
    tempo: float
    smooth: float  # s, how slowly the mouth moves
    breath: float  # dB, more than usual
    hiss: float  # dB, more than usual
    corner: float  # factor on the corner of hisses
    rise: float  # of log pitch over a word


def formants(random: np.random.Generator) -> Formants:
    """A voice, drawn from `random`."""
    height = random.uniform()  # low and long, or high and short
    return Formants(
        pitch=80 * (300 / 80) ** height,
        tract=0.9 * (1.32 / 0.9) ** height * np.exp(0.06 * random.standard_normal()),
        bend=np.exp(0.05 * random.standard_normal(5)),
        accent=np.exp(np.array([[0.08], [0.07]]) * random.standard_normal((2, len(PHONES)))),
        centre=random.uniform(-0.1, 0.25),
        width=np.exp(0.35 * random.standard_normal()),
        tilt=random.normal(0, 3),
        tempo=np.exp(0.22 * random.standard_normal()),
        smooth=random.uniform(0.03, 0.09),
        breath=random.normal(0, 6),
        hiss=random.normal(0, 7),
        corner=np.exp(0.15 * random.standard_normal()),
        rise=random.normal(0, 0.18),
    )


def say(
    digit: int, who: Formants, habit: np.random.Generator, random: np.random.Generator
) -> tuple[Spectrum, Spectrum, Spectrum]:
    """A word as log magnitudes of buzz and noise, each ``(601, F)``, and pitch ``(F,)`` in Hz.

    Args:
        digit: 0 to 9.
        who: says it.
        habit: decides the pronunciation.
        random: decides the rest.
    """
    word = WORDS[digit][0] if habit.uniform() < USUAL else habit.choice(WORDS[digit][1:])
    phones = [PHONES[name] for name in word]
    seconds = np.array([phone.ms / 1000 for phone in phones]) * np.exp(
        0.25 * random.standard_normal(len(word))
    )
    seconds /= who.tempo * np.exp(0.1 * random.standard_normal())
    # a little silence around the word, in which the mouth is in place already
    before, after = (
        phone._replace(buzz=SILENT, breath=SILENT, hiss=SILENT) for phone in (phones[0], phones[-1])
    )
    phones = [before, *phones, after]
    steps = np.maximum(1, np.round(np.array([0.02, *seconds, 0.04]) / STEP)).astype(int)

    def track(targets: list[float], smooth: float) -> Floats:
        """The targets one after the other, smoothed over `smooth` seconds; one value a frame."""
        window = np.hanning(max(3, round(smooth / STEP)) + 2)[1:-1]
        held = np.pad(np.repeat(targets, steps), len(window), mode="edge")
        moved = np.convolve(held, window / window.sum(), "same")[len(window) : -len(window)]
        return moved[:: round(1 / FRAMES_PER_SECOND / STEP)]

    order = list(PHONES)
    places = [order.index(name) for name in (word[0], *word, word[-1])]
    resonances = []
    for i, (middle, shift) in enumerate(
        zip((500, 1500, 2500), (*who.accent, np.ones(len(order))), strict=True)
    ):
        targets = [phone.formants[i] * shift[place] for phone, place in zip(phones, places, strict=True)]
        moving = track([hertz + (middle - hertz) * who.centre for hertz in targets], who.smooth)
        first, last = 0.05 * random.standard_normal(2)
        resonances.append(moving * np.exp(np.linspace(float(first), float(last), len(moving))))
    frames = len(resonances[0])
    resonances += [np.full(frames, 3400.0), np.full(frames, 4300.0)]
    buzz = track([phone.buzz for phone in phones], 0.025)
    breath = track([phone.breath for phone in phones], 0.02) + who.breath - 14
    hiss = track([phone.hiss for phone in phones], 0.018) + who.hiss - 12
    corner = track([phone.corner for phone in phones], 0.015) * who.corner

    hertz = np.arange(BINS)[:, None] * HZ_PER_BIN + 1.0
    mouth = _mouth(hertz, np.array(resonances) * (who.tract * who.bend)[:, None], who.width)
    octaves = np.log2(np.maximum(hertz, 200) / 200)
    harmonic = mouth - (6 + who.tilt) * 0.9 * octaves + buzz
    rustle = np.maximum(-np.maximum(0, corner - hertz) * 0.014, -45) + hiss  # 14 dB a kHz below the corner
    noise = 10 * np.log10(10 ** ((mouth + breath) / 10) + 10 ** (rustle / 10) + 1e-12)

    time = np.linspace(-1, 1, frames)
    bow = 0.1 * random.standard_normal() * (1 - time**2)
    line = 0.08 * random.standard_normal() + (who.rise + 0.15 * random.standard_normal()) * time
    jitter = 0.01 * random.standard_normal(frames)
    pitch = (who.pitch * np.exp(line + bow + jitter)).clip(50, 500) * (buzz > -40)
    log = np.log(10) / 20
    return (harmonic * log).astype(np.float32), (noise * log).astype(np.float32), pitch.astype(np.float32)


def _mouth(hertz: Floats, resonances: Floats, width: float) -> Floats:
    """Gain in dB ``(601, F)`` of five resonances ``(5, F)`` one after the other."""
    gain = (hertz / 5000) ** 2 * 12  # stands for all the higher ones
    for centre, band in zip(resonances, (70, 90, 130, 200, 280), strict=True):
        half = band * width / 2
        far, near = (hertz + centre) ** 2 + half**2, (hertz - centre) ** 2 + half**2
        gain = gain + 20 * np.log10(centre**2 + half**2) - 10 * np.log10(far * near)
    return gain.clip(-70, 60)
