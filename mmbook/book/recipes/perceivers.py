"""Models that tell the feeling of one sentence, picture or recording by itself: trained once and kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from mmbook.book.datasets import Reviews
from mmbook.book.datasets.joint import MODALITIES
from mmbook.book.kept import Recipe
from mmbook.encoders import Bert, Frozen, MelCNN, MobileNetV2, Pooled, Projected
from mmbook.fusion import build_fusion
from mmbook.heads import Classification
from mmbook.modality import collate
from mmbook.models import Features, MultimodalModel, encode_dataset
from mmbook.train import Trainer

WIDTH = 16  # numbers that each encoder hands on
PRETRAINED: dict[str, Callable[[], nn.Module]] = {"text": Bert.minilm, "image": MobileNetV2.pretrained}
ASKED = 300  # parts of the test split that a score is of


def perceiver(modality: str) -> MultimodalModel:
    """A model that tells the feeling of one sentence, picture or recording by itself (`Reviews.perception`).

    Text and image: MiniLM and MobileNetV2, pretrained and frozen, under a trained projection to 16 numbers.
    Audio: no pretrained encoder of speech is at hand, so a small mel CNN is trained from nothing, projection
    included. All of them learn from the parts of the training split; those of the validation split choose the
    epoch. None sees the label of a review. Kept.

    Raises:
        ValueError: a modality other than text, image, audio.
    """
    if modality not in RECIPES:
        raise ValueError(f"no perceiver of {modality!r}; there are {', '.join(RECIPES)}")
    return _with(modality, RECIPES[modality].tensors())


def pretrained_encoders() -> dict[str, nn.Module]:
    """The encoders of the three perceivers, frozen: each gives one token of 16 numbers a sample."""
    return {name: Frozen(perceiver(name).encoders[name]) for name in MODALITIES}


def _with(modality: str, weights: dict[str, Tensor]) -> MultimodalModel:
    """The perceiver with what was trained of it: a frozen encoder, an asset already, is put under it."""
    frozen = _frozen(modality)
    model = _untrained(modality, frozen)
    model.load_state_dict(weights)
    if frozen is not None:
        projection = model.encoders[modality]
        assert isinstance(projection, Projected)
        projection.replace(frozen)
    return model.eval()


def _frozen(modality: str) -> Pooled | None:
    return Pooled(Frozen(PRETRAINED[modality]())) if modality in PRETRAINED else None


def _untrained(modality: str, frozen: Pooled | None) -> MultimodalModel:
    """The perceiver; over features instead of its frozen encoder, where it has one."""
    base = Pooled(MelCNN()) if frozen is None else Features(frozen.out_dim)
    fusion = build_fusion("concat", {modality: WIDTH}, WIDTH, dropout=0.0 if frozen is None else 0.2)
    return MultimodalModel({modality: Projected(base, WIDTH)}, fusion, Classification(WIDTH, 2))


def _train(modality: str) -> dict[str, Tensor]:
    torch.manual_seed(0)
    parts = {s: Reviews.perception(modality, s) for s in ("train", "valid")}
    frozen = _frozen(modality)
    model = _untrained(modality, frozen)
    if frozen is None:
        Trainer(model, parts["train"], parts["valid"], epochs=8, batch_size=32, lr=2e-3, seed=0).fit()
        return model.state_dict()
    # a frozen encoder says the same in every epoch: ask it once, train the projection on its answers
    answers = {s: encode_dataset({modality: frozen}, part) for s, part in parts.items()}
    Trainer(model, answers["train"], answers["valid"], epochs=12, batch_size=32, lr=1e-3, seed=0).fit()
    return model.state_dict()


@torch.no_grad()
def _scores(modality: str, weights: dict[str, Tensor]) -> dict[str, float]:
    model, parts = _with(modality, weights), Reviews.perception(modality, "test")
    some = Subset(parts, range(0, len(parts), max(1, len(parts) // ASKED)))
    right = []
    for batch in DataLoader(some, 64, collate_fn=collate):
        seen = {key: batch[key] for key in (modality, f"{modality}_mask")}
        right.append(model(**seen).logits.argmax(dim=1) == batch["labels"])
    return {"new parts": torch.cat(right).double().mean().item()}


RECIPES = {
    name: Recipe(f"perceiver_{name}", partial(_train, name), partial(_scores, name)) for name in MODALITIES
}
