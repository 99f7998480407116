"""Six answers to a missing modality, compared on the spoken reviews at equal budget: made once and kept."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmbook.book.kept import Recipe
from mmbook.book.recipes.reviews import review_features
from mmbook.book.written.fill import fill, make_filler, with_gaps
from mmbook.data.arrays import ArrayDataset
from mmbook.generate import VAE
from mmbook.modality import collate
from mmbook.models import MultimodalModel, fusion_on_features
from mmbook.train import Trainer

SEEDS, DRAWS, PATTERNS = 5, 10, 3  # of training; of the generator for one sample; of gaps in the test posts
RATES = (0.0, 0.25, 0.5, 0.75)  # at which test posts lose modalities
PRACTICE = 0.4  # at which training posts do, in the regime "gaps"; and the rate of modality dropout
# Training posts are either whole, and the gaps come as a surprise, or have gaps themselves.
REGIMES = {"complete": 0.0, "gaps": PRACTICE}
SIMPLE: dict[str, dict[str, Any]] = {
    "zeros": {"missing": "zeros"},
    "mean": {"missing": "mean"},
    "learned token": {"missing": "learned"},
    "modality dropout": {"modality_dropout": PRACTICE},
}
METHODS = (*SIMPLE, "generated, 1 draw", f"generated, {DRAWS} draws")


def filled_gaps() -> dict[str, dict[str, Tensor]]:
    """How often each answer to a missing modality is right, for each test post; kept.

    All classifiers are the same concatenation with one hidden layer, trained with the same batches, steps and
    learning rate on the features of `mmbook.book.recipes.review_features`. The generators, one VAE a
    modality, are trained beside them, on the same posts. Where they fill, the classifier is trained on posts
    with one draw in each gap, and asked about test posts with one draw, or with ten, whose probabilities are
    averaged.

    Returns:
        regime -> method -> ``(4, 5, 500)``: for the test rates of `RATES`, each seed and each test post, the
        share of three patterns of gaps in which the answer is right.
    """
    found = RECIPE.tensors()
    return {regime: {name: found[f"{regime}/{name}"] for name in METHODS} for regime in REGIMES}


def _make() -> dict[str, Tensor]:
    data = review_features()
    shape = (len(RATES), SEEDS, len(data["test"]))
    right = {f"{regime}/{name}": torch.zeros(shape) for regime in REGIMES for name in METHODS}
    for regime, rate in REGIMES.items():
        for seed in range(SEEDS):
            train = with_gaps(data["train"], rate, seed)
            models = {name: classifier(train, seed, **options) for name, options in SIMPLE.items()}
            # a filler has to meet the gaps of the others, too
            draws = fillers(with_gaps(data["train"], PRACTICE, seed), seed)
            drawn = classifier(fill(train, draws, seed), seed)
            for i, test_rate in enumerate(RATES):
                for pattern in range(PATTERNS):
                    test = with_gaps(data["test"], test_rate, 1000 * seed + pattern)
                    guess = {name: answers(model, test) for name, model in models.items()}
                    some = [answers(drawn, fill(test, draws, draw)) for draw in range(DRAWS)]
                    guess |= dict(zip(METHODS[-2:], (some[0], torch.stack(some).mean(dim=0)), strict=True))
                    for name, probabilities in guess.items():
                        hit = probabilities.argmax(dim=1) == test.labels
                        right[f"{regime}/{name}"][i, seed] += hit / PATTERNS
    return right


def classifier(data: ArrayDataset, seed: int, **options: Any) -> MultimodalModel:
    """A concatenation with a hidden layer, trained; `options` as `mmbook.fusion.build_fusion` takes them."""
    torch.manual_seed(seed)
    model = fusion_on_features(data.dims, "concat", num_classes=2, hidden=64, **options)
    Trainer(model, data, epochs=12, batch_size=128, lr=3e-3, seed=seed, progress=False).fit()
    return model.eval()


def fillers(data: ArrayDataset, seed: int) -> dict[str, VAE]:
    """A trained VAE for each modality, given whichever of the others a post has."""
    made = {}
    for name in data.dims:
        torch.manual_seed(seed)
        made[name] = make_filler(data.dims, name)
        Trainer(made[name], data, epochs=20, batch_size=128, lr=3e-3, seed=seed, progress=False).fit()
    return made


@torch.no_grad()
def answers(model: MultimodalModel, data: ArrayDataset) -> Tensor:
    """The probabilities ``(N, 2)`` that a model gives for a dataset."""
    batch = collate(data.__getitems__(range(len(data))))  # type: ignore[arg-type]
    logits = model(**batch).logits
    assert logits is not None
    return logits.softmax(dim=1)


def _scores(found: dict[str, Tensor]) -> dict[str, float]:
    names, half = ("complete/zeros", "gaps/zeros", f"gaps/{METHODS[-1]}"), RATES.index(0.5)
    return {name: found[name][half].mean().item() for name in names}


RECIPE = Recipe("filled_gaps", _make, _scores)
