"""The encoders and the features of the spoken reviews, made once and kept in the cache."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file
from torch import nn

import mmbook
from mmbook.assets import cache_dir, registry
from mmbook.data import Reviews
from mmbook.data.arrays import ArrayDataset, from_arrays
from mmbook.encoders import Bert, Frozen, MelCNN, MobileNetV2, Pooled
from mmbook.heads import Classification
from mmbook.models import MultimodalModel, encode_dataset
from mmbook.train import Trainer

log = logging.getLogger(__name__)

SPLITS = ("train", "valid", "test")
EPOCHS = 8
SOURCES = ("assets.toml", "modality.py", "data", "preprocess", "encoders", "train", "models", "recipes")


def speech_encoder() -> MelCNN:
    """A mel CNN that has learned, from the training voices alone, to tell a glad voice from a sad one.

    It stands where a pretrained speech model would: the pictures and the sentences come with encoders that others
    have trained, and no such encoder of speech is at hand. It has heard the feeling each recording was made with,
    and never a label of a review. Made once (about a minute), then read from the cache.
    """
    folder = cache_dir() / f"speech-encoder-{_key()}"
    with FileLock(f"{folder}.lock"):
        if not (folder / "model.safetensors").is_file():
            log.info("training the speech encoder, once")
            _listen().save_pretrained(folder)
        model = MultimodalModel.from_pretrained(folder)
    encoder = model.encoders["audio"]
    assert isinstance(encoder, MelCNN)
    return encoder


def _listen() -> MultimodalModel:
    from mmbook.fusion import build_fusion

    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):  # what the reader draws next must not depend on a cache
        torch.manual_seed(0)
        encoder = MelCNN()
        fusion = build_fusion("concat", {"audio": encoder.out_dim}, 64)
        model = MultimodalModel({"audio": encoder}, fusion, Classification(64, 2))
        train, valid = (Reviews.perception("audio", split) for split in ("train", "valid"))
        Trainer(model, train, valid, epochs=EPOCHS, batch_size=32, lr=2e-3, seed=0).fit()
    return model


def pretrained_encoders() -> dict[str, nn.Module]:
    """MiniLM for text, MobileNetV2 for images, `speech_encoder` for audio: all frozen, one token a sample each."""
    return {
        "text": Pooled(Frozen(Bert.minilm())),
        "image": Pooled(Frozen(MobileNetV2.pretrained())),
        "audio": Pooled(Frozen(speech_encoder())),
    }


def review_features(seed: int = 0) -> dict[str, ArrayDataset]:
    """The spoken reviews as `pretrained_encoders` see them: one vector a modality.

    Args:
        seed: of the reviews.

    Returns:
        "train", "valid", "test" -> dataset with "text" (384), "image" (1280) and "audio" (128 numbers), in the order
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
    names = ("text", "image", "audio")
    return {s: from_arrays({n: kept[f"{s}/{n}"] for n in names}, kept[f"{s}/labels"]) for s in SPLITS}


def _write(tensors: dict[str, torch.Tensor], file: Path) -> None:
    part = file.with_suffix(".part")
    save_file(tensors, part)
    part.replace(file)


def _key() -> str:
    """Changes with any source that the result depends on, and with the assets."""
    digest = hashlib.sha256(torch.__version__.encode())
    root = Path(mmbook.__file__).parent
    for name in SOURCES:
        place = root / name
        for file in sorted(place.rglob("*.[pc]*")) if place.is_dir() else [place]:
            if file.suffix in (".py", ".csv", ".toml"):
                digest.update(file.relative_to(root).as_posix().encode() + file.read_bytes())
    digest.update("".join(asset.sha256 for asset in registry().values()).encode())
    return digest.hexdigest()[:16]
