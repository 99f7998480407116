"""Does a map show what the model learned, or only what the picture looks like? Randomise the weights and see.

Maps of edges look convincing and stay the same when the network forgets everything.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmbook.book.written.correlation import spearman
from mmbook.evaluate.inputs import finite
from mmbook.evaluate.intervals import Interval, interval
from mmbook.explain.saliency import Explain

M = TypeVar("M", bound=nn.Module)


class SanityCheck(NamedTuple):
    """How alike the maps of the trained model and of a randomised one are.

    Attributes:
        correlations: ``(seeds, B)``, Spearman's, of the maps' sizes.
        mean: with its interval over seeds and samples.
        limit: above which the maps are called alike.
    """

    correlations: NDArray[np.float64]
    mean: Interval
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the maps change with the weights, by the upper end of the interval."""
        return self.mean.high < self.limit

    def __str__(self) -> str:
        verdict = "depends on the weights" if self.passed else "hardly depends on the weights"
        return f"rank correlation with a randomised model's map {self.mean}: the map {verdict}"


def sanity_check(
    explain: Explain,
    model: Any,
    batch: Mapping[str, Tensor],
    name: str,
    *,
    seeds: int = 3,
    limit: float = 0.5,
    **options: Any,
) -> SanityCheck:
    """Compare the map of a trained model with that of the same network with its weights randomised.

    Args:
        explain: such as `integrated_gradients`; called as ``explain(model, batch, name, **options)``.
        model: trained.
        batch: of at least two samples.
        name: of the modality to explain.
        seeds: randomised copies.
        limit: of the mean rank correlation; 1 means that the weights do not matter.
        options: of `explain`. Give a ``target``, or the randomised model explains another class.

    Raises:
        ValueError: a map that is not finite, or the same everywhere: its ranks say nothing.

    Source: Adebayo et al. (2018), *Sanity Checks for Saliency Maps*, https://arxiv.org/abs/1810.03292.
    """
    if seeds < 1:
        raise ValueError(f"seeds is {seeds}; it must be at least 1, better 3")
    ours = explain(model, batch, name, **options)
    mask = batch.get(f"{name}_mask")
    if mask is None or mask.shape != ours.shape[:2]:  # all is real, or a layer with tokens of its own
        mask = torch.ones(ours.shape[:2], dtype=torch.bool)
    rows = []
    for seed in range(seeds):
        theirs = explain(randomised(model, seed), batch, name, **options)
        rows.append([_alike(a, b, real) for a, b, real in zip(ours, theirs, mask, strict=True)])
    found = np.array(rows)
    if not np.isfinite(found).all():
        raise ValueError("a map has the same size everywhere, so it has no ranks to compare; look at it")
    return SanityCheck(found, interval(found, kind="number"), limit)


def randomised(model: M, seed: int = 0) -> M:
    """A copy whose weights are dealt out anew within each tensor: the same sizes, nothing learned.

    Tensors of equal numbers, such as the gains of a fresh norm, stay as they are.
    """
    random, other = torch.Generator().manual_seed(seed), copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            order = torch.randperm(parameter.numel(), generator=random).to(parameter.device)
            parameter.copy_(parameter.flatten()[order].reshape(parameter.shape))
    return other


def _alike(ours: Tensor, theirs: Tensor, real: Tensor) -> float:
    """Spearman's correlation of the sizes of two maps ``(T, ...)``, over what is real."""
    keep = real.to(ours.device)
    a, b = (finite(found[keep].abs().flatten(), "values of a map") for found in (ours, theirs))
    return spearman(a, b)
