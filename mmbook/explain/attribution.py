"""Which modality earned the score? The Shapley value, exact, over all subsets of the modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from mmbook.answers import logits_of
from mmbook.evaluate.inputs import finite
from mmbook.evaluate.intervals import Interval, Kind, interval
from mmbook.evaluate.predicting import predict_logits
from mmbook.evaluate.scores import Score, usual_scores
from mmbook.evaluate.views import View

MOST = 10
Floats = NDArray[np.float64]


class Attribution(NamedTuple):
    """How much of a score is due to each modality.

    Attributes:
        values: name -> ``(S, N)``, by training seed and sample. For each sample they sum to what the model
            gains from having all modalities over having none.
        rows: name -> `Interval` of the mean over the samples.
        empty: the score with no modality.
        full: the score with all.
    """

    values: dict[str, Floats]
    rows: dict[str, Interval]
    empty: Interval
    full: Interval

    def __str__(self) -> str:
        width = max(map(len, ["none", "all", *self.rows]))
        parts = {"none": self.empty, **self.rows, "all": self.full}
        return "\n".join(f"{name:<{width}}  {found}" for name, found in parts.items())


def shapley(values: Mapping[Any, ArrayLike]) -> dict[str, Floats]:
    """Shapley values of the players of a game: each one's mean gain over all orders of joining.

    ``phi_m = sum over S without m of |S|! (M - |S| - 1)! / M! (v(S + m) - v(S))``. They are the only shares
    that sum to ``v(all) - v(none)`` (efficiency), are equal for players that do the same (symmetry), zero for
    one that changes nothing (dummy), and add up over games (additivity).

    Args:
        values: for each of the ``2 ** M`` subsets of the names, as a tuple or frozenset, its worth: a number
            or an array, all of one shape, such as the score of every sample. They may come from one model
            with masked modalities or from a model trained for each subset: that is another question, so say
            which.

    Returns:
        name -> array of that shape.

    Raises:
        ValueError: a subset that is missing, more than 10 names, or values of different shapes or not finite.

    Source: Shapley (1953), *A Value for n-Person Games*, https://doi.org/10.1515/9781400881970-018.
    """
    worth = {frozenset(some): finite(value, f"values of {[*some]}") for some, value in values.items()}
    names = list(dict.fromkeys(name for some in values for name in some))
    _check_count(names)
    lacking = [some for some in subsets(names) if frozenset(some) not in worth]
    if lacking or len({value.shape for value in worth.values()}) != 1:
        raise ValueError(
            f"{len(lacking)} of {2 ** len(names)} subsets of {', '.join(names)} have no value, such as "
            f"{lacking[:1]}, or the values differ in shape; give one of one shape for each, the empty one too"
        )
    table = np.stack([worth[frozenset(some)] for some in subsets(names)])  # (2^M, ...), by bit mask
    masks = np.arange(len(table))
    sizes = np.array([len(some) for some in subsets(names)])
    weights = np.array([1 / (len(names) * comb(len(names) - 1, size)) for size in range(len(names))])
    found = {}
    for bit, name in enumerate(names):
        without = masks[masks >> bit & 1 == 0]
        gains = table[without | 1 << bit] - table[without]
        found[name] = np.tensordot(weights[sizes[without]], gains, axes=1)
    return found


def subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """All ``2 ** M`` of them; the k-th holds the names of the bits of k, so the empty one comes first."""
    return [tuple(n for bit, n in enumerate(names) if k >> bit & 1) for k in range(2 ** len(names))]


def attribute(
    models: nn.Module | Sequence[nn.Module],
    dataset: Any,
    *,
    score: Score | None = None,
    names: Sequence[str] | None = None,
    clusters: Mapping[str, ArrayLike] | None = None,
    batch_size: int = 256,
) -> Attribution:
    """Exact Shapley values of the modalities for a model's score on a dataset, per sample and on average.

    The model runs on every subset; the other modalities get all-False masks, and it handles them as it
    handles any missing modality. One that never saw gaps in training may be poor on subsets for that
    reason alone; train with modality dropout, or retrain for each subset and use `shapley` itself.

    Args:
        models: one a training seed, or a single one.
        dataset: of rows with labels.
        score: of single samples; None for accuracy, or mean absolute error where labels are numbers.
        names: of the modalities; None: as the dataset says.
        clusters: as in `interval`; None takes those of the dataset, where it says.
        batch_size: rows a forward pass, of which there are ``2 ** M`` for each batch.

    Raises:
        ValueError: more than 10 modalities, or a model that gives NaN where modalities are missing.
    """
    intact = View(dataset)
    players = tuple(names or intact.modalities)
    _check_count(players)
    intact.check(players)
    clusters = getattr(dataset, "clusters", None) if clusters is None else clusters
    score = usual_scores(intact.labels)[0] if score is None else score
    runs = [models] if isinstance(models, nn.Module) else list(models)
    logits = torch.stack([predict_logits(_OnSubsets(model, players), intact, batch_size) for model in runs])
    worth, kinds = {}, set()
    for index, some in enumerate(subsets(players)):
        answers = logits[:, :, index]
        if answers.isnan().any():
            raise ValueError(
                f"the model gives NaN with {', '.join(some) or 'nothing'} alone; it must handle every subset"
            )
        found = score.measure(answers, intact.labels)
        worth[some] = found.table
        kinds.add(found.kind)
    values = shapley(worth)
    shares = kinds == {"share"}
    of_score: Kind = "share" if shares else "number"
    of_value: Kind = "difference" if shares else "number"
    return Attribution(
        {name: values[name] for name in players},
        {name: interval(values[name], clusters, kind=of_value) for name in players},
        interval(worth[()], clusters, kind=of_score),
        interval(worth[players], clusters, kind=of_score),
    )


class _OnSubsets(nn.Module):
    """A model asked once for each subset of its modalities, the others masked: logits ``(B, 2^M, ...)``."""

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, **batch: Tensor) -> SimpleNamespace:
        found = []
        for some in subsets(self.names):
            gone = [f"{name}_mask" for name in self.names if name not in some and f"{name}_mask" in batch]
            output = self.model(**batch | {mask: torch.zeros_like(batch[mask]) for mask in gone})
            found.append(logits_of(output))
        return SimpleNamespace(logits=torch.stack(found, dim=1))


def _check_count(names: Sequence[str]) -> None:
    if not 1 <= len(names) <= MOST:
        raise ValueError(
            f"there are {len(names)} modalities; all subsets are run, so there can be 1 to {MOST}: "
            f"join some to one player"
        )
