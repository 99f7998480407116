"""Do two sets of similarities agree? A rank correlation over pairs, with interval and permutation test."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmbook.evaluate.inputs import defined, finite, p_value
from mmbook.evaluate.metrics import spearman

Floats = NDArray[np.float64]


class Agreement(NamedTuple):
    """A rank correlation, how sure one may be of it, and what chance alone would give.

    Attributes:
        correlation: Spearman's, from -1 to 1.
        low, high: 95 % interval of it, from a bootstrap over the blocks.
        chance_low, chance_high: where the middle 95 % of the correlations lie when items are relabelled.
        p: share of relabellings, the identity included, whose correlation is at least as large.
    """

    correlation: float
    low: float
    high: float
    chance_low: float
    chance_high: float
    p: float

    def __str__(self) -> str:
        chance = f"by chance [{self.chance_low:+.3f}, {self.chance_high:+.3f}], p = {self.p:.4f}"
        return f"{self.correlation:.3f} [{self.low:.3f}, {self.high:.3f}], {chance}"


def agreement(
    ours: ArrayLike,
    theirs: ArrayLike,
    pairs: ArrayLike,
    blocks: ArrayLike | None = None,
    *,
    draws: int = 2000,
    seed: int = 0,
) -> Agreement:
    """Spearman's correlation between two similarities over a list of pairs of items.

    Two pairs that share a word are not independent: one odd vector moves both. So chance is not simulated by
    shuffling the pairs' values, which would treat them as independent. The *items* are relabelled: in each
    draw every item gets the vector of another, in all its pairs at once, as in the test of Mantel (1967,
    https://pubmed.ncbi.nlm.nih.gov/6018555/). For the same reason the bootstrap draws whole blocks.

    Args:
        ours, theirs: ``(W, W)`` similarities of all items under the two models, symmetric.
        pairs: ``(P, 2)`` which items are compared.
        blocks: ``(P,)`` ids; pairs of different blocks share no item. None where no two pairs share one.
        draws: relabellings, and bootstrap samples.
        seed: of both.

    Raises:
        ValueError: shapes that do not fit; an item that stands in two blocks; fewer than two blocks;
            similarities that are not finite, or all equal over the pairs: they have no ranks.
    """
    a, b = finite(ours, "similarities of ours"), finite(theirs, "similarities of theirs")
    i, j = np.asarray(pairs).T
    unit = np.arange(len(i)) if blocks is None else np.unique(np.asarray(blocks), return_inverse=True)[1]
    if a.shape != b.shape or a.ndim != 2 or a.shape[0] != a.shape[1] or unit.shape != i.shape:
        raise ValueError(
            f"the similarities have shapes {a.shape} and {b.shape}, pairs and blocks {len(i)} and "
            f"{len(unit)} entries; give two square matrices of one size and one block a pair"
        )
    if len(np.unique(unit)) < 2:
        raise ValueError("all pairs are in one block; an interval needs at least two")
    home = {int(item): int(block) for item, block in zip([*i, *j], [*unit, *unit], strict=True)}
    for item, block in zip([*i, *j], [*unit, *unit], strict=True):
        if home[int(item)] != block:
            raise ValueError(f"item {item} stands in two blocks; give pairs that share an item one block")
    for name, table in (("ours", a), ("theirs", b)):
        if np.ptp(table[i, j]) == 0:
            raise ValueError(
                f"all {len(i)} similarities of {name} are {table[i, j][0]:.6g}, so they have no ranks; "
                f"give pairs that differ, or look for what made the vectors alike"
            )
    random = np.random.default_rng(seed)
    found = spearman(a[i, j], b[i, j])
    relabelled = (random.permutation(len(a)) for _ in range(draws))
    chance = np.array([spearman(a[new[i], new[j]], b[i, j]) for new in relabelled])
    members = [np.flatnonzero(unit == block) for block in range(unit.max() + 1)]
    drawn = (
        np.concatenate([members[k] for k in random.integers(0, len(members), len(members))])
        for _ in range(draws)
    )
    again = np.array([spearman(a[i[some], j[some]], b[i[some], j[some]]) for some in drawn])
    low, high = np.quantile(defined(again, "draws"), [0.025, 0.975])
    p = p_value(found, chance)
    chance_low, chance_high = np.quantile(chance[np.isfinite(chance)], [0.025, 0.975])
    return Agreement(found, float(low), float(high), float(chance_low), float(chance_high), p)
