"""A detector of emoji, trained on scenes from nothing, with three seeds: made once and kept."""

from __future__ import annotations

import torch
from torch import Tensor

from mmbook.book.datasets import EmojiScenes
from mmbook.book.kept import Recipe
from mmbook.encoders import Flattened, Projected, SmallCNN
from mmbook.fusion import build_fusion
from mmbook.models import MultimodalModel
from mmbook.models.detection import SetDetection
from mmbook.scale import scale
from mmbook.train import Trainer

SIDE = 48  # pixels
CHANNELS = (24, 48, 96)  # each stage halves the side, so 6 x 6 places are left
WIDTH = 512  # of the vector from which all objects are read: what is where must fit into it
COUNT, EPOCHS = {"laptop": 3000, "gpu": 30_000}, {"laptop": 12, "gpu": 40}
SEEDS, TEST = 3, 300


def scene_answers() -> dict[str, Tensor]:
    """What detectors say of scenes, as logits of `SetDetection`; kept.

    A small convolutional network reads the picture, its 36 places end to end become one vector, and
    `mmbook.models.detection.SetDetection` reads up to eight objects from it.

    Returns:
        ``{"train": (3, 300, 8, 10), "test": (3, 300, 8, 10)}``: for three seeds, the answers to the first 300
        scenes of ``EmojiScenes(split, size=48)``: whose drawings it has seen, and has never seen.
    """
    return RECIPE.tensors()


def detector() -> MultimodalModel:
    """The untrained model."""
    places = (SIDE // 2 ** len(CHANNELS)) ** 2
    eye = Flattened(Projected(SmallCNN(CHANNELS), 32), places)
    fusion = build_fusion("concat", {"image": eye.out_dim}, WIDTH)
    return MultimodalModel({"image": eye}, fusion, SetDetection(WIDTH, len(EmojiScenes.classes)))


def _make() -> dict[str, Tensor]:
    counts = {"train": COUNT[scale()], "test": TEST}
    scenes = {split: EmojiScenes(split, count, size=SIDE) for split, count in counts.items()}
    # drawn once, and not anew in every epoch
    rows = {split: [data[i] for i in range(len(data))] for split, data in scenes.items()}
    answers: dict[str, list[Tensor]] = {split: [] for split in rows}
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        trainer = Trainer(
            detector(),
            rows["train"],  # type: ignore[arg-type]  # a list of rows is a dataset
            epochs=EPOCHS[scale()],
            batch_size=32,
            lr=2e-3,
            seed=seed,
            progress=False,
        )
        trainer.fit()
        for split, asked in rows.items():
            answers[split].append(trainer.predict(asked[:TEST]).logits)  # type: ignore[arg-type]
    return {split: torch.stack(found) for split, found in answers.items()}


def _scores(answers: dict[str, Tensor]) -> dict[str, float]:
    from mmbook.evaluate import detection_metrics

    head, scores = SetDetection(WIDTH, len(EmojiScenes.classes)), {}
    for split, name in {"train": "drawings of training", "test": "new drawings"}.items():
        scenes = EmojiScenes(split, TEST, size=SIDE)
        truth = torch.stack([scenes[i]["labels"] for i in range(TEST)])
        found = [detection_metrics(head.answers(one), truth)["map_50"] for one in answers[split]]
        scores[f"mAP 50, {name}"] = sum(found) / len(found)
    return scores


RECIPE = Recipe("scene_answers", _make, _scores)
