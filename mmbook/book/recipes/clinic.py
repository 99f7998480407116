"""Features of the made-up clinic, made once and kept: what three frozen encoders say of every row."""

from __future__ import annotations

from importlib.metadata import version

import torch
from torch import Tensor

from mmbook.book.datasets import Clinic
from mmbook.book.recipes import kept
from mmbook.data.arrays import ArrayDataset, from_arrays
from mmbook.encoders import Bert, MobileNetV2, Pooled, TelephoneMel
from mmbook.modality import Modality
from mmbook.models import encode_dataset
from mmbook.preprocess import ImageProcessor

SPLITS = ("train", "valid", "test")
SIDE = 160  # pixels; the full 224 take twice the time
KERNELS, FRAMES, STEP = 600, 11, 3  # a kernel reads 11 frames, 30 ms apart

SOURCES = (
    "data/arrays.py",
    "data/clinic.py",
    "data/dictation.py",
    "data/report_sentences.py",
    "data/speech.py",
    "data/splits.py",
    "data/xrays.py",
    "encoders/bert.py",
    "encoders/grid.py",
    "encoders/log_mel.py",
    "encoders/mobilenet.py",
    "encoders/pooled.py",
    "encoders/telephone_mel.py",
    "modality.py",
    "models/features.py",
    "preprocess/audio.py",
    "preprocess/image.py",
    "preprocess/spectrum.py",
    "preprocess/text.py",
    "recipes/clinic.py",
)
DEPENDS = ("minilm", "minilm-tokenizer", "mobilenet_v2", "chest-xrays", "xray-reports")


def clinic_features() -> dict[str, ArrayDataset]:
    """`Clinic` with seed 0 as three encoders see it that were trained on none of it: one vector a modality.

    Text: MiniLM, 384 numbers. Image: MobileNetV2 at 160 pixels, 1,280. Audio: 1,200 from random convolutions
    over the log-mel spectrogram (`heard`), since no pretrained encoder of speech is at hand and a few hundred
    sentences are too few to train one. About two minutes the first time, dictation included, then read from
    the cache.

    Returns:
        "train" (800 rows), "valid" (200), "test" (400) -> dataset in the order of ``Clinic(split)``.
    """
    made = kept.tensors("clinic-features", SOURCES, _make, (*DEPENDS, version("hibari-tts")))
    names = ("text", "image", "audio")
    return {s: from_arrays({n: made[f"{s}/{n}"] for n in names}, made[f"{s}/labels"]) for s in SPLITS}


def _make() -> dict[str, Tensor]:
    encoders = {"text": Pooled(Bert.minilm()), "image": Pooled(MobileNetV2.pretrained())}
    tensors: dict[str, Tensor] = {}
    for split in SPLITS:
        seen = Clinic(split, modalities=("text", "image"), processors={"image": ImageProcessor(SIDE)})
        encoded = encode_dataset(encoders, seen)
        said = Clinic(split, modalities=("audio",))
        tensors |= {f"{split}/{name}": array[:, 0].clone() for name, array in encoded.arrays.items()}
        tensors[f"{split}/audio"] = torch.stack([heard(row["audio"]) for row in said])  # type: ignore[attr-defined]
        tensors[f"{split}/labels"] = encoded.labels
    return tensors


@torch.no_grad()
def heard(sound: Tensor) -> Tensor:
    """What random convolutions hear in a sound ``(T,)`` at 16 kHz: ``(2 * KERNELS,)``.

    Each kernel of random numbers slides over the spectrogram; kept are its highest answer, and the share of
    time in which its answer is positive. No kernel is trained: among many, some happen to answer to a sound
    that tells the classes apart, and the linear head above finds them.

    Source: Dempster, Petitjean and Webb (2020), *ROCKET*, https://arxiv.org/abs/1910.13051.
    """
    frames = TelephoneMel()(Modality(sound[None], torch.ones(1, len(sound), dtype=torch.bool)))
    mel = frames.values[frames.mask].T[None]  # (1, 40, T')
    kernels = torch.randn(KERNELS, mel.shape[1], FRAMES, generator=torch.Generator().manual_seed(0))
    answers = torch.nn.functional.conv1d(mel, kernels, padding=20, dilation=STEP)[0]  # (KERNELS, T'')
    return torch.cat([answers.amax(dim=1), (answers > 0).float().mean(dim=1)])
