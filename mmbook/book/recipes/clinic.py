"""Features of the made-up clinic, made once and kept: what three frozen encoders say of every row."""

from __future__ import annotations

import torch
from torch import Tensor

from mmbook.book.datasets.clinic import Clinic, labels_of
from mmbook.book.kept import Recipe
from mmbook.book.recipes.probe import linear_accuracy
from mmbook.data.arrays import ArrayDataset, from_arrays
from mmbook.encoders import Bert, MobileNetV2, Pooled, TelephoneMel
from mmbook.modality import Modality
from mmbook.models import encode_dataset
from mmbook.preprocess import ImageProcessor

SPLITS = ("train", "valid", "test")
SIDE = 160  # pixels; the full 224 take twice the time
KERNELS, FRAMES, STEP = 600, 11, 3  # a kernel reads 11 frames, 30 ms apart


def clinic_features() -> dict[str, ArrayDataset]:
    """`Clinic` with seed 0 as three encoders see it that were trained on none of it: one vector a modality.

    Text: MiniLM, 384 numbers. Image: MobileNetV2 at 160 pixels, 1,280. Audio: 1,200 from random convolutions
    over the log-mel spectrogram (`heard`), since no pretrained encoder of speech is at hand and a few hundred
    sentences are too few to train one. Kept.

    Returns:
        "train" (800 rows), "valid" (200), "test" (400) -> dataset in the order of ``Clinic(split)``.
    """
    made = {name: recipe.tensors() for name, recipe in RECIPES.items()}
    return {
        split: from_arrays({name: found[split] for name, found in made.items()}, _labels(split))
        for split in SPLITS
    }


def _labels(split: str) -> Tensor:
    return torch.from_numpy(labels_of(split))


def _written() -> dict[str, Tensor]:
    reader = {"text": Pooled(Bert.minilm())}
    return {s: _encoded(reader, Clinic(s, modalities=("text",))) for s in SPLITS}


def _seen() -> dict[str, Tensor]:
    eye, small = {"image": Pooled(MobileNetV2.pretrained())}, {"image": ImageProcessor(SIDE)}
    return {s: _encoded(eye, Clinic(s, modalities=("image",), processors=small)) for s in SPLITS}


def _said() -> dict[str, Tensor]:
    rows = {s: Clinic(s, modalities=("audio",)) for s in SPLITS}
    return {s: torch.stack([heard(part[i]["audio"]) for i in range(len(part))]) for s, part in rows.items()}


def _encoded(encoders: dict[str, Pooled], rows: Clinic) -> Tensor:
    (features,) = encode_dataset(encoders, rows).arrays.values()
    return features[:, 0]


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


def _scores(found: dict[str, Tensor]) -> dict[str, float]:
    train, test = _labels("train"), _labels("test")
    return {"linear": linear_accuracy(found["train"], train, found["test"], test)}


# The sentences may not be passed on in another form (CC BY-NC-ND), so what holds their words, if only as
# vectors, is made at need. What random kernels hear in a made voice holds none.
RECIPES = {
    "text": Recipe("clinic_text", _written, _scores, half=True, keep=False),
    "image": Recipe("clinic_image", _seen, _scores, half=True),
    "audio": Recipe("clinic_audio", _said, _scores, half=True),
}
