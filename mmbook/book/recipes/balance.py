"""One modality that drowns the other, where the ceilings are known, and four cures: made once and kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmbook.book.kept import Recipe
from mmbook.book.recipes.probe import linear_accuracy
from mmbook.data.arrays import ArrayDataset, from_arrays
from mmbook.fusion import build_fusion
from mmbook.heads import Classification
from mmbook.modality import Modality
from mmbook.models import Blended, Modulated, MultimodalModel, blend_weights
from mmbook.train import Trainer

SEEDS, TRAIN, TEST, PROBE = 5, 1000, 2000, 4000  # rows: to learn from, to be asked, to probe encoders with
WRONG, SILENT = 0.1, 0.1  # share of rows in which the quick one lies, and in which the slow one says nothing
NOISE, SMALL = 0.25, 0.25  # deviation of the noise on a sign of 1; what the slow one's numbers are scaled by
QUICK_DIM, SLOW_DIM, WIDTH, EPOCHS = 192, 32, 64, 16
# The best possible accuracy. Misread signs lower it by less than 0.0002.
CEILINGS = {
    "quick": 1 - WRONG,
    "slow": 1 - SILENT / 2,
    "both": 1 - SILENT * WRONG,
    "two slow ones": 1 - SILENT**2 / 2,
}


class Perceptron(nn.Module):
    """Two layers on each token: features ``(B, T, dim)`` to ``(B, T, width)``."""

    reads = "features"

    def __init__(self, dim: int, width: int = WIDTH) -> None:
        super().__init__()
        self.out_dim = width
        self.net = nn.Sequential(nn.Linear(dim, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, modality: Modality) -> Modality:
        values, mask = modality.cleaned()
        return Modality(self.net(values), mask).cleaned()


def data(count: int, seed: int, equal: bool = False) -> ArrayDataset:
    """Rows with two modalities and a label of two classes.

    "quick" ``(192,)``: the first number has the label's sign, in one row of ten the other; the rest is noise,
    by which a network can learn its training rows by heart. "slow" ``(32,)``: the *product* of the first two
    numbers has the label's sign; in one row of ten they are noise like the rest; and all numbers are small.

    Args:
        count: rows.
        seed: of the draw.
        equal: True puts a second slow modality, with signs of its own, in the place of the quick one.
    """
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (count,), generator=random)
    sign = 2 * labels - 1
    slow = _product(sign, random)
    if equal:
        return from_arrays({"quick": _product(sign, random), "slow": slow}, labels)
    quick = NOISE * torch.randn(count, QUICK_DIM, generator=random)
    quick[:, 0] += sign * (1 - 2 * (torch.rand(count, generator=random) < WRONG).long())
    return from_arrays({"quick": 2 * quick, "slow": slow}, labels)


def _product(sign: Tensor, random: torch.Generator) -> Tensor:
    found = NOISE * torch.randn(len(sign), SLOW_DIM, generator=random)
    coin = 2 * torch.randint(0, 2, (len(sign),), generator=random) - 1
    heard = torch.rand(len(sign), generator=random) >= SILENT
    found[:, 0] += coin * heard
    found[:, 1] += coin * sign * heard
    return 2 * SMALL * found


def untrained(train: ArrayDataset, seed: int, dropout: float = 0.0) -> MultimodalModel:
    """A perceptron for each modality, concatenation, a linear head; `dropout` is modality dropout."""
    torch.manual_seed(seed)
    encoders = {name: Perceptron(dim) for name, dim in train.dims.items()}
    fusion = build_fusion("concat", dict.fromkeys(encoders, WIDTH), WIDTH, modality_dropout=dropout)
    return MultimodalModel(encoders, fusion, Classification(WIDTH, 2))


def trained(
    model: nn.Module, train: ArrayDataset, seed: int, epochs: int = EPOCHS, sgd: bool = False
) -> nn.Module:
    """The model after `epochs`, in place; SGD takes twice as many, at the rate that served it best."""
    options = {"lr": 0.1, "optimizer": "sgd"} if sgd else {"lr": 2e-3}
    epochs = 2 * epochs if sgd else epochs
    Trainer(model, train, epochs=epochs, batch_size=50, seed=seed, progress=False, **options).fit()  # type: ignore[arg-type]
    return model.eval()


@torch.no_grad()
def losses(model: MultimodalModel, train: ArrayDataset, valid: ArrayDataset) -> tuple[float, float]:
    """The loss on training and on validation rows."""
    model.eval()
    found = [model(**rows.arrays, labels=rows.labels).loss.item() for rows in (train, valid)]
    return found[0], found[1]


def estimated(train: ArrayDataset, valid: ArrayDataset, seed: int) -> dict[str, float]:
    """Weights for `Blended`, from each modality alone and both together in half of the epochs."""
    before, after = {}, {}
    for name, names in {"quick": ["quick"], "slow": ["slow"], "joint": ["quick", "slow"]}.items():
        some, new = train.select(names), valid.select(names)
        model = untrained(some, seed)
        before[name] = losses(model, some, new)
        trained(model, some, seed, EPOCHS // 2)
        after[name] = losses(model, some, new)
    return blend_weights(before, after)


@torch.no_grad()
def probe(encoder: nn.Module, name: str, rows: ArrayDataset, test: ArrayDataset) -> float:
    """How often a linear reading of the encoder's vectors is right, its weights fitted to fresh rows."""

    def read(data: ArrayDataset) -> Tensor:  # (N, width)
        values = data.arrays[name]
        return encoder(Modality(values, torch.ones(values.shape[:2], dtype=torch.bool))).values[:, 0]

    return linear_accuracy(read(rows), rows.labels, read(test), test.labels)


Method = Callable[[ArrayDataset, ArrayDataset, int], MultimodalModel]


def _method(
    wrap: Callable[[MultimodalModel, ArrayDataset, ArrayDataset, int], nn.Module] | None = None,
    names: tuple[str, ...] = ("quick", "slow"),
    dropout: float = 0.0,
    times: int = 1,
    sgd: bool = False,
) -> Method:
    def make(train: ArrayDataset, valid: ArrayDataset, seed: int) -> MultimodalModel:
        some = train.select(names)
        model = untrained(some, seed, dropout)
        trained(wrap(model, train, valid, seed) if wrap else model, some, seed, times * EPOCHS, sgd)
        return model.eval()

    return make


METHODS: dict[str, Method] = {
    "quick alone": _method(names=("quick",)),
    "slow alone": _method(names=("slow",)),
    "joint": _method(),
    "joint, 3 times as long": _method(times=3),
    "blended, equal weights": _method(lambda model, *_: Blended(model)),
    "blended, estimated weights": _method(lambda model, *rest: Blended(model, estimated(*rest))),
    "modality dropout": _method(dropout=0.5),
    "slow alone, SGD": _method(names=("slow",), sgd=True),
    "joint, SGD": _method(sgd=True),
    "modulated, SGD": _method(lambda model, *_: Modulated(model), sgd=True),
}


class Outcome(NamedTuple):
    """What became of one method.

    Attributes:
        right: ``(S, N)`` 1.0 where the answer to a test row is right, a row for each seed.
        probes: name of a modality -> ``(S,)``, see `probe`.
    """

    right: Tensor
    probes: dict[str, Tensor]


def drowned(equal: bool = False) -> dict[str, Outcome]:
    """All `METHODS`, five seeds each, on the same 2,000 test rows; kept.

    A seed draws the training rows and the initial weights. All methods have the same encoders, fusion, head
    and batches; the estimated weights also cost three half trainings.

    Args:
        equal: False for the data in which one modality drowns the other, True for two equal modalities.
    """
    found = DROWNED[equal].tensors()
    return {
        name: Outcome(
            found[f"{name}/right"],
            {m: found[f"{name}/{m}"] for m in ("quick", "slow") if f"{name}/{m}" in found},
        )
        for name in METHODS
        if f"{name}/right" in found
    }


def _make(equal: bool) -> dict[str, Tensor]:
    test, fresh = data(TEST, 1, equal), data(PROBE, 2, equal)
    left_out = ("quick alone", "joint, 3 times as long", "slow alone, SGD") if equal else ()
    found: dict[str, list[Tensor]] = {}
    for seed in range(SEEDS):
        train, valid = data(TRAIN, 10 + seed, equal), data(TRAIN, 100 + seed, equal)
        for name, make in METHODS.items():
            if name in left_out:
                continue
            model = make(train, valid, seed)
            with torch.no_grad():
                answers = model(**{m: test.arrays[m] for m in model.encoders}).logits
            found.setdefault(f"{name}/right", []).append((answers.argmax(dim=1) == test.labels).float())
            for m, encoder in model.encoders.items():
                score = probe(encoder, m, fresh, test)
                found.setdefault(f"{name}/{m}", []).append(torch.tensor(score))
    return {key: torch.stack(values) for key, values in found.items()}


def _scores(found: dict[str, Tensor]) -> dict[str, float]:
    return {n: found[f"{n}/right"].mean().item() for n in ("slow alone", "joint", "modality dropout")}


DROWNED = {
    False: Recipe("drowned_unequal", partial(_make, False), _scores),
    True: Recipe("drowned_equal", partial(_make, True), _scores),
}
