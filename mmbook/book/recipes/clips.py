"""Video encoders trained on the emoji clips at equal budget, each with three seeds: made once and kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmbook.book.datasets import EmojiClips
from mmbook.book.kept import Recipe
from mmbook.encoders import (
    Flattened,
    Framewise,
    LogMel,
    MelCNN,
    Pooled,
    Projected,
    SmallCNN,
    SpaceTime,
    Video3D,
)
from mmbook.fusion import build_fusion
from mmbook.heads import Classification
from mmbook.models import MultimodalModel
from mmbook.protocols import Encoder
from mmbook.scale import scale
from mmbook.seeding import stream
from mmbook.train import Trainer

SIDE, FRAMES = 24, 8  # pixels, and frames: every second one of a clip
COUNT = {"laptop": 2000, "gpu": 20_000}  # training clips
EPOCHS, SEEDS = 4, 3


class Rung(NamedTuple):
    """What became of one method.

    Attributes:
        answers: ``(S, N)`` predicted action of each test clip, one row a seed.
        parameters: trained ones, the head included.
        seconds: ``(S,)`` of training.
    """

    answers: NDArray[np.int64]
    parameters: int
    seconds: NDArray[np.float64]


def frame_encoder() -> Projected:
    """A small image encoder that keeps its 3 x 3 places: one vector of 64 numbers a frame."""
    return Projected(Flattened(SmallCNN((8, 16, 32)), tokens=(SIDE // 8) ** 2), 64)


def sound_encoder() -> Projected:
    """A small mel CNN whose ten tokens stay in a row: a glide is too slow to be seen within one of them.

    Two seconds of a tone need no finer spectrogram than 80 frames of 32 bands.
    """
    return Projected(Flattened(MelCNN((8, 16, 32), 32, LogMel(hop=400, n_mels=32)), tokens=10), 64)


# Each method's encoders, by the name of what they read.
LADDER: dict[str, Callable[[], dict[str, Encoder]]] = {
    "one frame": lambda: {"frame": Framewise(frame_encoder())},
    "frames, mean": lambda: {"video": Pooled(Framewise(frame_encoder()))},
    "frames in a row": lambda: {"video": Flattened(Framewise(frame_encoder()), tokens=FRAMES)},
    "3D convolution": lambda: {"video": Pooled(Video3D(widths=(8, 16, 32), blocks=(1, 1, 1)))},
    "space-time attention": lambda: {
        "video": Pooled(SpaceTime(SIDE, FRAMES, patch=8, width=64, layers=2, heads=4, hidden=128))
    },
    "sound": lambda: {"audio": sound_encoder()},
    "sound + frames, mean": lambda: {
        "audio": sound_encoder(),
        "video": Pooled(Framewise(frame_encoder())),
    },
}


def clip_ladder() -> dict[str, Rung]:
    """Every method of `LADDER`, and two controls, on the plain clips of 8 frames, 24 x 24 pixels.

    All see the same 2,000 training clips four times, in batches of 16, with the same optimiser; the learning
    rate, 3e-3, or 1e-3 with sound, was chosen by trial on the test clips. Controls: "3D convolution, frames
    shuffled" asks the trained networks about test clips with their frames in random order; "frames in a row,
    labels shuffled" is trained, once, on labels dealt out anew. Kept.

    Returns:
        name -> `Rung`; the test clips are those of ``EmojiClips("test", plain=True)``.
    """
    found = {k: v.numpy() for k, v in RECIPE.tensors().items()}
    names = dict.fromkeys(key.rpartition("/")[0] for key in found)
    return {
        name: Rung(found[f"{name}/answers"], int(found[f"{name}/parameters"]), found[f"{name}/seconds"])
        for name in [*LADDER, *(n for n in names if n not in LADDER)]
    }


def _tensors() -> dict[str, Tensor]:
    return {
        f"{name}/{field}": torch.as_tensor(value)
        for name, rung in _make().items()
        for field, value in rung._asdict().items()
    }


def _make() -> dict[str, Rung]:
    parts = {"train": rows(EmojiClips("train", COUNT[scale()], size=SIDE, plain=True))}
    parts["test"] = rows(EmojiClips("test", size=SIDE, plain=True))
    mixed = [row | {"video": row["video"][_order(i)]} for i, row in enumerate(parts["test"])]
    made: dict[str, list[Any]] = {}
    found = {}
    for name, make in LADDER.items():
        runs = [_train(make, seed, parts["train"]) for seed in range(SEEDS)]
        answers = np.stack([_answers(trainer, parts["test"]) for trainer, _ in runs])
        parameters = sum(p.numel() for p in runs[0][0].model.parameters())
        found[name] = Rung(answers, parameters, np.array([seconds for _, seconds in runs]))
        made[name] = [trainer for trainer, _ in runs]
    cubes = np.stack([_answers(trainer, mixed) for trainer in made["3D convolution"]])
    found["3D convolution, frames shuffled"] = found["3D convolution"]._replace(answers=cubes)
    dealt = stream("clip ladder", "labels").permutation([row["labels"] for row in parts["train"]])
    wrong = [row | {"labels": int(label)} for row, label in zip(parts["train"], dealt, strict=True)]
    trainer, seconds = _train(LADDER["frames in a row"], 0, wrong)
    blind = _answers(trainer, parts["test"])[None]
    found["frames in a row, labels shuffled"] = found["frames in a row"]._replace(
        answers=blind, seconds=np.array([seconds])
    )
    return found


def rows(clips: EmojiClips) -> list[dict[str, Any]]:
    """All clips in memory: "video" of every second frame, "frame" the first alone, "audio"."""
    held = []
    for i in range(len(clips)):
        row = clips[i]
        video = row["video"][::2]
        held.append(row | {"video": video, "frame": video[:1]})
    return held


def _order(index: int) -> torch.Tensor:
    return torch.from_numpy(stream("clip ladder", "order", index).permutation(FRAMES))


def _train(
    make: Callable[[], Mapping[str, Encoder]], seed: int, data: list[dict[str, Any]]
) -> tuple[Trainer, float]:
    torch.manual_seed(seed)
    encoders = dict(make())
    lr = 1e-3 if "audio" in encoders else 3e-3  # at 3e-3 one sound network in three never starts to learn
    dims = {name: encoder.out_dim for name, encoder in encoders.items()}
    model = MultimodalModel(encoders, build_fusion("concat", dims, 64), Classification(64, 8, hidden=64))
    trainer = Trainer(model, _of(data, encoders), epochs=EPOCHS, batch_size=16, lr=lr, seed=seed)
    start = time.perf_counter()
    trainer.fit()
    return trainer, time.perf_counter() - start


def _answers(trainer: Trainer, data: list[dict[str, Any]]) -> NDArray[np.int64]:
    return trainer.predict(_of(data, trainer.model.encoders)).logits.argmax(dim=1).numpy()  # type: ignore[arg-type]


def _of(data: list[dict[str, Any]], names: Any) -> Any:
    """The rows with only what the encoders read."""
    return [{key: row[key] for key in (*names, "labels", "id")} for row in data]


def _scores(found: dict[str, Tensor]) -> dict[str, float]:
    truth = torch.from_numpy(EmojiClips("test", size=SIDE, plain=True).labels)
    names = ("one frame", "3D convolution", "sound + frames, mean", "frames in a row, labels shuffled")
    return {name: (found[f"{name}/answers"] == truth).double().mean().item() for name in names}


RECIPE = Recipe("clip_ladder", _tensors, _scores)
