"""Tasks that help, compete, or shout, over one shared layer, under five weightings: made once and kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from mmbook.book.kept import Recipe
from mmbook.book.written.pcgrad import PCGrad
from mmbook.data.arrays import ArrayDataset, from_arrays
from mmbook.fusion import build_fusion
from mmbook.heads import Classification, Regression
from mmbook.models import Features, FixedWeights, MultimodalModel, MultiTask, UncertaintyWeights
from mmbook.train import Trainer

SEEDS, TRAIN, TEST = 5, 600, 3000
DIM, WRONG, NOISE = 12, 0.1, 0.3  # numbers a row; share of wrong classes; deviation of the noise on a number
HUNDRED = 100.0  # units to one of the standardised numbers, where the tasks shout
TASKS = ("kind", "first", "second")
CEILINGS = {"kind": 1 - WRONG, "numbers": 1 / (1 + NOISE**2)}  # accuracy; share of the variance explained


class Setting(NamedTuple):
    """What is shared by whom.

    Attributes:
        rival: whether the two numbers are made of other inputs than the kind is.
        width: of the shared layer.
        unit: what the numbers are multiplied by.
    """

    rival: bool
    width: int
    unit: float = 1.0


SETTINGS = {
    "related, narrow": Setting(False, 2),
    "rival, narrow": Setting(True, 2),
    "rival, wide": Setting(True, 8),
    "rival, wide, large units": Setting(True, 8, HUNDRED),
}


def data(count: int, seed: int, setting: Setting) -> ArrayDataset:
    """Rows "x" ``(12,)`` of normal numbers; labels ``(N, 3)``: a kind of two, and two numbers.

    The kind is whether the first two inputs have the same sign, turned over in one row of ten. The numbers
    are these two inputs themselves, or, as rivals, the next two; with noise, and in a unit.
    """
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(count, DIM, generator=random)
    wrong = torch.rand(count, generator=random) < WRONG
    kind = (x[:, :2].prod(dim=1) > 0) ^ wrong
    shown = x[:, 2:4] if setting.rival else x[:, :2]
    numbers = setting.unit * (shown + NOISE * torch.randn(count, 2, generator=random))
    return from_arrays({"x": x}, torch.cat([kind[:, None].float(), numbers], dim=1))


def untrained(
    setting: Setting, tasks: tuple[str, ...], seed: int, weighting: nn.Module | None = None
) -> MultimodalModel:
    """A linear layer of the setting's width, shared; on it, for each task, a hidden layer and an answer."""
    torch.manual_seed(seed)
    heads: dict[str, nn.Module] = {
        task: Classification(setting.width, 2, hidden=32)
        if task == "kind"
        else Regression(setting.width, hidden=32)
        for task in tasks
    }
    shared = build_fusion("concat", {"x": DIM}, setting.width)
    return MultimodalModel({"x": Features(DIM)}, shared, MultiTask(heads, weighting))


def by_hand(setting: Setting, *_: Tensor) -> nn.Module:
    """One over the variance of each number, and one for the kind."""
    return FixedWeights(dict.fromkeys(TASKS[1:], 1 / setting.unit**2))


def uncertain(*_: object) -> nn.Module:
    """Uncertainty weights, all variances 1 at the start."""
    return UncertaintyWeights(TASKS)


def uncertain_started(setting: Setting, labels: Tensor) -> nn.Module:
    """Uncertainty weights that start where they would settle for an untrained model: at the log of its loss.

    For a number that is the variance of its labels; for two kinds, log 2.
    """
    made, start = UncertaintyWeights(TASKS), torch.tensor([2.0]).log()
    made.log_variance.data = torch.cat([start, labels[:, 1:].var(dim=0)]).log()
    return made


WEIGHTINGS: dict[str, Callable[[Setting, Tensor], nn.Module | None]] = {
    "equal": lambda *_: None,
    "by hand": by_hand,
    "uncertainty": uncertain,
    "uncertainty, started right": uncertain_started,
    "PCGrad": lambda *_: None,
}
METHODS = ("alone", *WEIGHTINGS)


def shared_tasks() -> dict[str, dict[str, dict[str, Tensor]]]:
    """Each method in each of the `SETTINGS`, five seeds, on the same 3,000 test rows; kept.

    Returns:
        setting -> method -> "kind": ``(S, N)`` 1.0 where right, and "numbers": ``(S, N)`` squared error in
        units of the variance, mean of both. "alone" is the kind without the numbers, and the numbers without
        it.
    """
    found = RECIPE.tensors()
    return {
        setting: {
            method: {part: found[f"{setting}/{method}/{part}"] for part in ("kind", "numbers")}
            for method in METHODS
        }
        for setting in SETTINGS
    }


def _make() -> dict[str, Tensor]:
    found: dict[str, list[Tensor]] = {}
    for name, setting in SETTINGS.items():
        test = data(TEST, 1, setting)
        for seed in range(SEEDS):
            train = data(TRAIN, 10 + seed, setting)
            scores = {"alone": answered(setting, train, test, seed, TASKS[:1])}
            scores["alone"] |= answered(setting, train, test, seed, TASKS[1:])
            for method, weighting in WEIGHTINGS.items():
                made, surgery = weighting(setting, train.labels), method == "PCGrad"
                scores[method] = answered(setting, train, test, seed, TASKS, made, surgery)
            for method, parts in scores.items():
                for part, score in parts.items():
                    found.setdefault(f"{name}/{method}/{part}", []).append(score)
    return {key: torch.stack(values) for key, values in found.items()}


def answered(
    setting: Setting,
    train: ArrayDataset,
    test: ArrayDataset,
    seed: int,
    tasks: tuple[str, ...],
    weighting: nn.Module | None = None,
    surgery: bool = False,
) -> dict[str, Tensor]:
    """Train on some of the tasks; the scores ``(N,)`` of each test row, as `shared_tasks` gives them."""
    columns = [TASKS.index(task) for task in tasks]
    model = untrained(setting, tasks, seed, weighting)
    rows = from_arrays(train.arrays, train.labels[:, columns])
    trained = PCGrad(model) if surgery else model
    Trainer(trained, rows, epochs=24, batch_size=50, lr=5e-3, seed=seed, progress=False).fit()
    with torch.no_grad():
        answers = cast(MultiTask, model.head).split(model.eval()(x=test.arrays["x"]).logits)
    found = {}
    if "kind" in tasks:
        found["kind"] = (answers["kind"].argmax(dim=1) == test.labels[:, 0]).float()
    if "first" in tasks:
        guess, truth = torch.cat([answers["first"], answers["second"]], dim=1), test.labels[:, 1:]
        found["numbers"] = ((guess - truth).square() / truth.var(dim=0)).mean(dim=1)
    return found


def _scores(found: dict[str, Tensor]) -> dict[str, float]:
    return {
        "accuracy, related, equal": found["related, narrow/equal/kind"].mean().item(),
        "accuracy, rival, equal": found["rival, narrow/equal/kind"].mean().item(),
        "accuracy, large units, by hand": found["rival, wide, large units/by hand/kind"].mean().item(),
        "R², related, equal": 1 - found["related, narrow/equal/numbers"].mean().item(),
    }


RECIPE = Recipe("shared_tasks", _make, _scores)
