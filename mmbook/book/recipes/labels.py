"""Pictures with few labels, read by encoders that were pretrained without any: made once and kept."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmbook.book.datasets.digits import handwritten, standardised
from mmbook.book.kept import Recipe
from mmbook.book.written.pretrain import ContrastivePretraining, MaskedPretraining
from mmbook.book.written.token_transformer import TokenTransformer
from mmbook.data.arrays import from_arrays
from mmbook.encoders import Flattened, Frozen, Projected
from mmbook.fusion import build_fusion
from mmbook.heads import Classification
from mmbook.models import Features, MultimodalModel
from mmbook.protocols import Encoder
from mmbook.seeding import stream
from mmbook.train import Trainer

SEEDS = 3
UNLABELLED, FEW, TEST, PATCHES, SIDE, WIDTH = 5000, 50, 2000, 16, 7, 64  # pictures, and pixels of a patch
PASSES: dict[str, Any] = {"epochs": 12, "batch_size": 128, "lr": 3e-3}  # over the 5,000 pictures


def pictures(split: str, count: int) -> tuple[Tensor, Tensor]:
    """MNIST as ``(N, 28, 28)``, standardised, and the digits; the first `count` of an order of its own."""
    ink, digits = handwritten(split)
    some = stream("few labels", split).permutation(len(ink))[:count]
    return torch.stack([standardised(p)[0, 0] for p in ink[some]]), torch.from_numpy(digits[some])


def patches(pictures: Tensor) -> Tensor:
    """``(N, 28, 28)`` to 16 tokens of 49 pixels, ``(N, 16, 49)``."""
    return pictures.unfold(1, SIDE, SIDE).unfold(2, SIDE, SIDE).flatten(3).flatten(1, 2)


def view(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Moved by up to two pixels each way, and ten random patches of it: tokens and mask.

    Each view of a picture draws its own patches. With those that the other view leaves out, the masks would
    tell which views belong together.
    """
    step = torch.randint(-2, 3, (2, len(pictures), 1))
    down, across = (torch.arange(28) + step) % 28  # (B, 28) each
    moved = pictures[torch.arange(len(pictures))[:, None, None], down[:, :, None], across[:, None]]
    return patches(moved), torch.rand(len(pictures), PATCHES).argsort(dim=1) < 10


def encoder() -> Projected:
    """16 patches to one vector of 64: a block of attention, then a layer that keeps the places."""
    tokens = TokenTransformer(SIDE**2, 32, layers=1, max_positions=PATCHES)
    return Projected(Flattened(tokens, PATCHES), WIDTH)


def pretrained(how: str, shown: Tensor, digits: Tensor, seed: int) -> Projected:
    """An encoder after 12 epochs on pictures ``(N, 28, 28)``; `digits` only serve the pairs "by class"."""
    torch.manual_seed(seed)
    made = encoder()
    if how == "random weights":
        return made
    other = torch.arange(len(shown))  # which picture the second view is of
    if how == CONTRASTS[1]:
        other = torch.randperm(len(shown))
    for digit in range(10 if how == CONTRASTS[2] else 0):
        same = (digits == digit).nonzero()[:, 0]
        other[same] = same[torch.randperm(len(same))]

    def collate(rows: Sequence[int]) -> dict[str, Tensor]:
        if how == "masked":
            return {"image": patches(shown[rows])}
        (one, first), (two, second) = view(shown[rows]), view(shown[other[rows]])
        return {"one": one, "one_mask": first, "two": two, "two_mask": second}

    learner: nn.Module = ContrastivePretraining({"one": made, "two": made})
    if how == "masked":
        learner = MaskedPretraining("image", made, SIDE**2, tokens=PATCHES)
    rows: Any = range(len(shown))
    Trainer(learner, rows, collate=collate, seed=seed, progress=False, **PASSES).fit()
    return made


def read(encoder: Encoder, images: Tensor, digits: Tensor, test: Tensor, seed: int, **options: Any) -> Tensor:
    """Answers ``(N,)`` for tokens `test`, of an encoder under a head trained on `images` and `digits`."""
    torch.manual_seed(seed)
    fusion = build_fusion("concat", {"image": encoder.out_dim}, WIDTH)
    model = MultimodalModel({"image": encoder}, fusion, Classification(WIDTH, 10))
    Trainer(model, from_arrays({"image": images}, digits), seed=seed, progress=False, **options).fit()
    with torch.no_grad():
        return model.eval()(image=test).logits.argmax(dim=1)


# What the second view shows, for contrast: the same picture, any other, or any of the same digit.
CONTRASTS = ("contrast", "contrast, shuffled pairs", "contrast, pairs by class")
PRETRAINED = ("random weights", "masked", *CONTRASTS)


def few_labels() -> dict[str, Tensor]:
    """Handwritten digits with 50 labels, three seeds; kept.

    A seed draws the weights, and which 50 of 5,000 pictures are labelled. Each encoder of `PRETRAINED` is
    then read out "frozen", and "tuned" together with its head.

    Returns:
        name, as "masked, tuned" -> ``(S, N)`` 1.0 where the answer to a test picture is right; and the rows
        "pixels" (50 labels, no encoder) and "all labels" (5,000, the encoder from scratch).
    """
    return RECIPE.tensors()


def _make() -> dict[str, Tensor]:
    shown, digits = pictures("train", UNLABELLED)
    new, truth = pictures("test", TEST)
    x, z = patches(shown), patches(new)
    found: dict[str, list[Tensor]] = {}
    few: dict[str, Any] = {"epochs": 60, "batch_size": 25}
    for seed in range(SEEDS):
        order = stream("few labels", seed).permutation(UNLABELLED)
        each = [order[digits[order] == digit][: FEW // 10] for digit in range(10)]
        rows = torch.from_numpy(np.concatenate(each))
        answers = {}
        for how in PRETRAINED:
            made = pretrained(how, shown, digits, seed)
            still = Frozen(copy.deepcopy(made))
            answers[f"{how}, frozen"] = read(still, x[rows], digits[rows], z, seed, lr=1e-2, **few)
            answers[f"{how}, tuned"] = read(made, x[rows], digits[rows], z, seed, lr=1e-3, **few)
        flat, asked = x.flatten(start_dim=1)[rows, None], z.flatten(start_dim=1)[:, None]
        answers["pixels"] = read(Features(28 * 28), flat, digits[rows], asked, seed, lr=1e-3, **few)
        torch.manual_seed(seed)
        answers["all labels"] = read(encoder(), x, digits, z, seed, **PASSES)
        for name, guess in answers.items():
            found.setdefault(name, []).append((guess == truth).float())
    return {name: torch.stack(values) for name, values in found.items()}


def _scores(found: dict[str, Tensor]) -> dict[str, float]:
    names = ("pixels", "masked, tuned", "contrast, frozen", "all labels")
    return {name: found[name].mean().item() for name in names}


RECIPE = Recipe("few_labels", _make, _scores)
