"""The encoders and the features of the spoken reviews, made once and kept in the cache."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmbook.book.datasets import Reviews
from mmbook.book.recipes import kept
from mmbook.data.arrays import ArrayDataset, from_arrays
from mmbook.encoders import Bert, Frozen, MelCNN, MobileNetV2, Pooled, Projected
from mmbook.fusion import build_fusion
from mmbook.heads import Classification
from mmbook.models import Features, MultimodalModel, encode_dataset
from mmbook.train import Trainer

SPLITS, MODALITIES = ("train", "valid", "test"), ("text", "image", "audio")
WIDTH = 16  # numbers that each encoder hands on
PRETRAINED: dict[str, Callable[[], nn.Module]] = {"text": Bert.minilm, "image": MobileNetV2.pretrained}
# What the results depend on: a change in any of these makes them anew.
SOURCES = (
    "data/arrays.py",
    "data/emoji.py",
    "data/faces.csv",
    "data/joint.py",
    "data/perception.py",
    "data/reviews.py",
    "data/sentences.py",
    "data/speech.py",
    "data/splits.py",
    "encoders/bert.py",
    "encoders/frozen.py",
    "encoders/grid.py",
    "encoders/log_mel.py",
    "encoders/mel_cnn.py",
    "encoders/mobilenet.py",
    "encoders/pooled.py",
    "encoders/projected.py",
    "fusion/concat.py",
    "fusion/inputs.py",
    "heads.py",
    "modality.py",
    "models/features.py",
    "models/multimodal.py",
    "preprocess/audio.py",
    "preprocess/image.py",
    "preprocess/spectrum.py",
    "preprocess/text.py",
    "recipes/reviews.py",
    *kept.TRAINING,
)
DEPENDS = (
    "movie-reviews",
    "minilm",
    "minilm-tokenizer",
    "mobilenet_v2",
    "twemoji",
    "openmoji",
    version("hibari-tts"),
)


def perceiver(modality: str) -> MultimodalModel:
    """A model that tells the feeling of one sentence, picture or recording by itself (`Reviews.perception`).

    Text and image: MiniLM and MobileNetV2, pretrained and frozen, under a trained projection to 16 numbers.
    Audio: no pretrained encoder of speech is at hand, so a small mel CNN is trained from nothing, projection
    included. All of them learn from the parts of the training split; those of the validation split choose the
    epoch. None sees the label of a review. Made once (text: about a minute), then read from the cache.

    Raises:
        ValueError: a modality other than text, image, audio.
    """
    if modality not in MODALITIES:
        raise ValueError(f"no perceiver of {modality!r}; there are {', '.join(MODALITIES)}")
    model = kept.model(f"perceiver-{modality}", SOURCES, lambda: _train(modality), DEPENDS)
    if modality in PRETRAINED:  # kept without the frozen encoder, which is an asset already
        projection = model.encoders[modality]
        assert isinstance(projection, Projected)
        projection.replace(_frozen(modality))
    return model


def _frozen(modality: str) -> Pooled:
    return Pooled(Frozen(PRETRAINED[modality]()))


def _train(modality: str) -> MultimodalModel:
    """The perceiver; over features instead of its frozen encoder, where it has one."""
    torch.manual_seed(0)
    parts: dict[str, Dataset] = {s: Reviews.perception(modality, s) for s in ("train", "valid")}
    if modality not in PRETRAINED:
        model = _single(modality, Projected(Pooled(MelCNN()), WIDTH))
        Trainer(model, parts["train"], parts["valid"], epochs=8, batch_size=32, lr=2e-3, seed=0).fit()
        return model
    # a frozen encoder says the same in every epoch: ask it once, train the projection on its answers
    base = _frozen(modality)
    answers = {s: encode_dataset({modality: base}, part) for s, part in parts.items()}
    model = _single(modality, Projected(Features(base.out_dim), WIDTH), dropout=0.2)
    Trainer(model, answers["train"], answers["valid"], epochs=12, batch_size=32, lr=1e-3, seed=0).fit()
    return model


def _single(modality: str, encoder: Projected, dropout: float = 0.0) -> MultimodalModel:
    fusion = build_fusion("concat", {modality: WIDTH}, WIDTH, dropout=dropout)
    return MultimodalModel({modality: encoder}, fusion, Classification(WIDTH, 2))


def pretrained_encoders() -> dict[str, nn.Module]:
    """The encoders of the three perceivers, frozen: each gives one token of 16 numbers a sample."""
    return {name: Frozen(perceiver(name).encoders[name]) for name in MODALITIES}


def review_features(seed: int = 0) -> dict[str, ArrayDataset]:
    """The spoken reviews as `pretrained_encoders` see them: one vector a modality.

    Args:
        seed: of the reviews.

    Returns:
        "train", "valid", "test" -> dataset with "text", "image" and "audio" (16 numbers each), in the order
        of ``Reviews(split, seed)``.
    """
    found = kept.tensors(f"review-features-{seed}", SOURCES, lambda: _encode(seed), DEPENDS)
    return {s: from_arrays({n: found[f"{s}/{n}"] for n in MODALITIES}, found[f"{s}/labels"]) for s in SPLITS}


def _encode(seed: int) -> dict[str, Tensor]:
    encoders = pretrained_encoders()
    made = {split: encode_dataset(encoders, Reviews(split, seed)) for split in SPLITS}
    tensors = {f"{s}/{n}": a for s, data in made.items() for n, a in data.arrays.items()}
    return tensors | {f"{s}/labels": data.labels for s, data in made.items()}
