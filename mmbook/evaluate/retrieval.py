"""Retrieval between two modalities: on which rank of all items is the one that belongs to the query?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mmbook.evaluate.inputs import tensor

Floats = NDArray[np.float64]
CUTS = (1, 5, 10)
CHUNK = 2048  # queries at a time, so that 20,000 x 20,000 similarities need not be kept


def retrieval_metrics(
    queries: ArrayLike | Tensor, items: ArrayLike | Tensor, cuts: Sequence[int] = CUTS
) -> dict[str, float]:
    """R@K, median rank and mean reciprocal rank by cosine similarity, in both directions.

    Row i of the one belongs to row i of the other. Ties are broken by chance, and the result is the exact
    mean over that: embeddings that are all the same score K / N, as guessing does, and not 100 %, which comes
    out where the right item is put first among its equals.

    Args:
        queries, items: ``(N, D)`` embeddings, such as of texts and of their pictures.
        cuts: the K.

    Returns:
        ``forward_r1``, ..., ``forward_median_rank``, ``forward_mrr`` (rank 1 is best), and the same with
        ``backward``, from items to queries.

    Raises:
        ValueError: shapes that differ, fewer than two rows, or values that are not finite.
    """
    a, b = (_unit(side) for side in (queries, items))
    if a.shape != b.shape or len(a) < 2:
        raise ValueError(
            f"queries have shape {tuple(a.shape)} and items {tuple(b.shape)}; give two (N, D), N at least 2"
        )
    found: dict[str, float] = {}
    for name, (one, other) in {"forward": (a, b), "backward": (b, a)}.items():
        starts = range(0, len(one), CHUNK)
        places = torch.arange(len(one))
        parts = [_places(one[i : i + CHUNK] @ other.T, places[i : i + CHUNK], size=1) for i in starts]
        found |= _scores(np.concatenate(parts), cuts, f"{name}_")
    return found


def ranking_metrics(
    similarity: ArrayLike | Tensor, right: ArrayLike | Tensor | None = None, cuts: Sequence[int] = CUTS
) -> dict[str, float]:
    """R@K, median rank and mean reciprocal rank of a similarity matrix, from its rows to its columns.

    As `retrieval_metrics`, for similarities of any kind. Where several items are right (five captions of one
    picture), the best of them counts, as is usual. Scores are tied where they differ by no more than rounding
    of their own size; a pair that is masked by a large negative number or by minus infinity changes no other.

    Args:
        similarity: ``(Q, N)`` of any type, larger is closer; minus infinity for a pair that is ruled out.
        right: ``(Q, N)`` bool, which items are right; None: item i for query i.
        cuts: the K.

    Returns:
        ``r1``, ..., ``median_rank``, ``mrr``.

    Raises:
        ValueError: shapes that do not fit, a similarity that is NaN or plus infinity, a query without a right
            item.
    """
    table = tensor(similarity)
    if table.dim() != 2 or not len(table) or (right is None and table.shape[0] > table.shape[1]):
        raise ValueError(f"similarity has shape {tuple(table.shape)}; it must be (Q, N), an item a query")
    truth = torch.arange(len(table)) if right is None else tensor(right).bool()
    if right is not None and (truth.shape != table.shape or not truth.any(dim=1).all()):
        raise ValueError(
            f"right has shape {tuple(truth.shape)}, similarity {tuple(table.shape)}; give one bool for each "
            f"pair, and at least one True for each query"
        )
    return _scores(_places(table, truth), cuts, "")


def _unit(side: ArrayLike | Tensor) -> Tensor:
    """Rows of length 1 in float64: in float32 equal rows would differ by rounding, and ties look decided."""
    x = tensor(side).double()
    if x.dim() != 2 or not x.isfinite().all():
        raise ValueError(f"embeddings have shape {tuple(x.shape)}; they must be (N, D) finite numbers")
    return torch.nn.functional.normalize(x, dim=1)


def _places(table: Tensor, right: Tensor, size: float = 0) -> Floats:
    """``(Q, 3)``: items that are surely before the best right one, wrong ones tied with it, right ones tied.

    Args:
        table: ``(Q, N)`` similarities.
        right: ``(Q,)`` index of the one right item, or ``(Q, N)`` bool.
        size: of the terms that were summed up to a similarity, which may be near 0 itself; 1 for cosines.
    """
    # what differs by no more than rounding is a tie: else the order of a sum would decide
    rounding = 16 * torch.finfo(torch.float64 if table.dtype == torch.float64 else torch.float32).eps
    table = table.double()
    if table.isnan().any() or (table == torch.inf).any():
        raise ValueError("some similarities are NaN or plus infinity; no item has a rank beside them")
    truth = right if right.dim() == 2 else torch.zeros_like(table, dtype=torch.bool)
    if right.dim() == 1:
        truth[torch.arange(len(table)), right] = True
    best = table.masked_fill(~truth, -torch.inf).amax(dim=1, keepdim=True)
    tied = torch.isclose(table, best.expand_as(table), rtol=rounding, atol=rounding * size)
    before = (table > best) & ~tied
    counts = [before.sum(dim=1), (tied & ~truth).sum(dim=1), (tied & truth).sum(dim=1)]
    return torch.stack(counts, dim=1).double().numpy()


def _scores(places: Floats, cuts: Sequence[int], name: str) -> dict[str, float]:
    """Exact means over the order of tied items, each order equally likely."""
    before, wrong, right = places.T
    tied = wrong + right
    # going down the tied places: the chance that all places so far were taken by wrong items
    none_yet, hits, reciprocal = (
        np.ones(len(places)),
        np.zeros((len(cuts), len(places))),
        np.zeros(len(places)),
    )
    for step in range(int(wrong.max()) + 1):
        left = np.maximum(tied - step, 1)
        here = none_yet * np.where(step <= wrong, right / np.maximum(left, right), 0)  # the first right one
        reciprocal += here / (before + step + 1)
        hits += here * (before + step + 1 <= np.asarray(cuts)[:, None])
        none_yet = none_yet - here
    expected = before + (tied + 1) / (right + 1)
    scores = {f"{name}r{cut}": float(row.mean()) for cut, row in zip(cuts, hits, strict=True)}
    return scores | {f"{name}median_rank": float(np.median(expected)), f"{name}mrr": float(reciprocal.mean())}
