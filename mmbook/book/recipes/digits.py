"""A model that hears spoken digits, trained on made voices alone, for ears that meet real strangers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mmbook.book.datasets import Digits
from mmbook.book.kept import Recipe
from mmbook.book.voice_augment import VoiceAugmenter
from mmbook.encoders.mel import TelephoneMel
from mmbook.encoders.mel_cnn import MelCNN
from mmbook.encoders.recurrent import GRU
from mmbook.fusion import build_fusion
from mmbook.heads import Classification
from mmbook.modality import collate
from mmbook.models import MultimodalModel
from mmbook.preprocess import AudioProcessor
from mmbook.scale import scale
from mmbook.train import Trainer

EPOCHS = {"laptop": 8, "gpu": 60}  # each recording is heard so often, never twice the same
LONGEST = 16_000  # samples heard in training: a batch takes as long as its longest recording


class Rerecorded(Dataset[dict[str, Any]]):
    """The recordings of a dataset, each `times` times, every time in another room through another microphone.

    They are cut after a second. Row ``i`` is recording ``i % len(data)`` in epoch ``i // len(data)``, and a
    pure function of these and of the seed. So several epochs are one pass over this dataset.

    Args:
        data: rows with "audio" ``(T,)``.
        augmenter: from sound and seed to sound.
        times: epochs.
        seed: of all changes.
    """

    def __init__(self, data: Dataset, augmenter: VoiceAugmenter, times: int, seed: int = 0) -> None:
        self.data, self.augmenter, self.seed = data, augmenter, seed
        self.size: int = len(data)  # type: ignore[arg-type]
        self.times = times

    def __len__(self) -> int:
        return self.size * self.times

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]
        row = self.data[index % self.size]
        sound = self.augmenter(row["audio"], self.seed * 2**40 + index)[:LONGEST]
        return row | {"audio": sound, "id": index}


def listener(classes: Sequence[str] = Digits.classes) -> MultimodalModel:
    """The untrained model, some 200,000 parameters: telephone band, three convolutions, a GRU, their mean."""
    frames: Any = MelCNN(channels=(16, 48, 96), out_dim=128, mel=TelephoneMel())  # type: ignore[arg-type]
    encoder = GRU(width=64, stack=1, mel=frames)
    fusion = build_fusion("concat", {"audio": encoder.out_dim}, 128, dropout=0.2)
    head = Classification(128, len(classes), hidden=128, dropout=0.2)
    return MultimodalModel(
        {"audio": encoder},
        fusion,
        head,
        preprocess={"audio": AudioProcessor(max_seconds=3.0)},
        classes=classes,
    )


def train_listener(
    augmenter: VoiceAugmenter, epochs: int, seed: int = 0, data: Dataset | None = None
) -> MultimodalModel:
    """A listener trained on made voices.

    Args:
        augmenter: what happens to each recording before the model hears it.
        epochs: how often each recording is heard.
        seed: of the initial weights, the order and the changes.
        data: rows with "audio" and "labels"; None for all training voices of `mmbook.book.datasets.Digits`.
    """
    data = Digits("train", ("audio",)) if data is None else data
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):  # what the reader draws next must not depend on a cache
        torch.manual_seed(seed)
        model = listener()
        rows = Rerecorded(data, augmenter, epochs, seed)
        Trainer(model, rows, epochs=1, batch_size=64, lr=3e-3, seed=seed, progress=False).fit()
    return model.eval()


def digit_listener() -> MultimodalModel:
    """A model that hears the digits "zero" to "nine"; kept.

    It is trained on the training voices of `mmbook.book.datasets.Digits` alone, none of which is a person's,
    changed anew in each epoch by `mmbook.preprocess.VoiceAugmenter`. The aim is real strangers: evaluate it
    with `mmbook.evaluate.spoken_digits`.
    """
    return _with(RECIPE.tensors())


def _with(weights: dict[str, Tensor]) -> MultimodalModel:
    model = listener()
    model.load_state_dict(weights)
    return model.eval()


def _make() -> dict[str, Tensor]:
    return train_listener(VoiceAugmenter(), EPOCHS[scale()]).state_dict()


@torch.no_grad()
def _scores(weights: dict[str, Tensor]) -> dict[str, float]:
    model, voices = _with(weights), Digits("valid", ("audio",))
    right = [
        (model(audio=batch["audio"], audio_mask=batch["audio_mask"]).logits.argmax(dim=1) == batch["labels"])
        for batch in DataLoader(voices, 64, collate_fn=collate)
    ]
    return {"new made voices": torch.cat(right).double().mean().item()}


RECIPE = Recipe("digit_listener", _make, _scores)
