"""The encoders and the features of the spoken reviews, made once and kept in the cache."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import Dataset

import mmbook
from mmbook.assets import cache_dir, registry
from mmbook.data import Reviews
from mmbook.data.arrays import ArrayDataset, from_arrays
from mmbook.encoders import Bert, Frozen, MelCNN, MobileNetV2, Pooled, Projected
from mmbook.fusion import build_fusion
from mmbook.heads import Classification
from mmbook.models import Features, MultimodalModel, encode_dataset
from mmbook.train import Trainer

log = logging.getLogger(__name__)

SPLITS, MODALITIES = ("train", "valid", "test"), ("text", "image", "audio")
WIDTH = 16  # numbers that each encoder hands on
PRETRAINED: dict[str, Callable[[], nn.Module]] = {"text": Bert.minilm, "image": MobileNetV2.pretrained}
SOURCES = ("assets.toml", "modality.py", "heads.py")
FOLDERS = ("data", "preprocess", "encoders", "fusion", "train", "models", "recipes")


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
    folder = cache_dir() / f"perceiver-{modality}-{_key()}"
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            log.info("training the perceiver of %s, once", modality)
            devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
            with torch.random.fork_rng(devices):  # what the reader draws next must not depend on a cache
                torch.manual_seed(0)
                part = folder.with_suffix(".part")  # a kill while writing must not leave half a model
                shutil.rmtree(part, ignore_errors=True)
                _train(modality).save_pretrained(part)
                part.rename(folder)
        model = MultimodalModel.from_pretrained(folder)
    if modality in PRETRAINED:  # kept without the frozen encoder, which is an asset already
        projection = model.encoders[modality]
        assert isinstance(projection, Projected)
        projection.replace(_frozen(modality))
    return model


def _frozen(modality: str) -> Pooled:
    return Pooled(Frozen(PRETRAINED[modality]()))


def _train(modality: str) -> MultimodalModel:
    """The perceiver; over features instead of its frozen encoder, where it has one."""
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
    file = cache_dir() / f"review-features-{seed}-{_key()}.safetensors"
    with FileLock(f"{file}.lock"):
        if not file.is_file():
            log.info("encoding the reviews, once")
            encoders = pretrained_encoders()
            made = {split: encode_dataset(encoders, Reviews(split, seed)) for split in SPLITS}
            tensors = {f"{s}/{n}": a for s, data in made.items() for n, a in data.arrays.items()}
            tensors |= {f"{s}/labels": data.labels for s, data in made.items()}
            _write(tensors, file)
        kept = load_file(file)
    return {s: from_arrays({n: kept[f"{s}/{n}"] for n in MODALITIES}, kept[f"{s}/labels"]) for s in SPLITS}


def _write(tensors: dict[str, torch.Tensor], file: Path) -> None:
    part = file.with_suffix(".part")
    save_file(tensors, part)
    part.replace(file)


def _key() -> str:
    """Changes with any source that the result depends on, and with the assets."""
    digest = hashlib.sha256(torch.__version__.encode())
    root = Path(mmbook.__file__).parent
    for name in SOURCES + FOLDERS:
        place = root / name
        for file in sorted(place.rglob("*.[pc]*")) if place.is_dir() else [place]:
            if file.suffix in (".py", ".csv", ".toml"):
                digest.update(file.relative_to(root).as_posix().encode() + file.read_bytes())
    digest.update("".join(asset.sha256 for asset in registry().values()).encode())
    return digest.hexdigest()[:16]
