"""Is a model as sure as it is right? Confidence against accuracy, and one number that mends most of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from mmbook.evaluate.inputs import class_logits, tensor

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

BINS = 15
Floats = NDArray[np.float64]


class Reliability(NamedTuple):
    """Confidence and accuracy of the samples of each bin; an empty one has 0 of them and NaN.

    Attributes:
        edges: ``(bins + 1,)`` of confidence; a bin holds its lower edge, the last one its upper edge, too.
        samples: ``(bins,)``, how many.
        confidence: ``(bins,)`` mean probability of the predicted class.
        accuracy: ``(bins,)`` share that is right.
    """

    edges: Floats
    samples: NDArray[np.int64]
    confidence: Floats
    accuracy: Floats

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean gap between confidence and accuracy, bins by their samples."""
        gaps = np.nan_to_num(np.abs(self.confidence - self.accuracy))
        return float((gaps * self.samples).sum() / self.samples.sum())

    def to_frame(self) -> pd.DataFrame:
        """One line a bin: low, high, samples, confidence, accuracy."""
        import pandas as pd

        return pd.DataFrame(
            {
                "low": self.edges[:-1],
                "high": self.edges[1:],
                "samples": self.samples,
                "confidence": self.confidence,
                "accuracy": self.accuracy,
            }
        )


def reliability(
    logits: ArrayLike | Tensor, labels: ArrayLike | Tensor, edges: ArrayLike | None = None
) -> Reliability:
    """The reliability table behind a reliability diagram, and with it the ECE.

    The ECE of a finite test set is above 0 also for a perfectly calibrated model: compare models on the same
    samples, or with the interval of `bootstrap`.

    Args:
        logits: ``(N, C)``.
        labels: ``(N,)`` integers.
        edges: rising from 0 to 1; None for 15 bins of equal width, `equal_mass` for as many samples in each.

    Raises:
        ValueError: edges that do not rise from 0 to 1; logits or labels as in `class_logits`.

    Source: Guo et al. (2017), https://arxiv.org/abs/1706.04599.
    """
    x, y = class_logits(logits, labels)
    cuts = np.linspace(0, 1, BINS + 1) if edges is None else np.asarray(edges, dtype=float)
    if cuts.ndim != 1 or len(cuts) < 2 or cuts[0] != 0 or cuts[-1] != 1 or (np.diff(cuts) <= 0).any():
        raise ValueError(f"edges are {cuts}; they must rise from 0 to 1")
    confidence, guess = (found.numpy() for found in x.softmax(dim=1).max(dim=1))
    place = np.clip(np.searchsorted(cuts, confidence, side="right") - 1, 0, len(cuts) - 2)
    count = np.bincount(place, minlength=len(cuts) - 1)
    sums = [np.bincount(place, weights=of, minlength=len(count)) for of in (confidence, guess == y.numpy())]
    with np.errstate(invalid="ignore"):
        return Reliability(cuts, count, *(part / count for part in sums))


def equal_mass(logits: ArrayLike | Tensor, bins: int = BINS) -> Floats:
    """Edges for `reliability` with as many samples in each bin; fewer bins where confidences are tied.

    Equal widths leave most bins nearly empty, since most confidences are high.

    Source: Nguyen and O'Connor (2015), https://aclanthology.org/D15-1182.
    """
    if bins < 1:
        raise ValueError(f"bins is {bins}; it must be at least 1")
    x, _ = class_logits(logits, torch.zeros(len(tensor(logits)), dtype=torch.long))
    confidence = x.softmax(dim=1).amax(dim=1).numpy()
    inner = np.unique(np.quantile(confidence, np.linspace(0, 1, bins + 1)[1:-1], method="higher"))
    return np.concatenate([[0.0], inner[(inner > confidence.min()) & (inner < 1)], [1.0]])


def temperature(logits: ArrayLike | Tensor, labels: ArrayLike | Tensor) -> float:
    """The number T by which to divide logits so that their probabilities fit: lowest NLL on these samples.

    Fit it on the *validation* set, then score ``logits / T`` of the test set. Dividing all logits by one
    number changes no ranking within a sample, so the accuracy stays exactly. The NLL is convex in 1 / T and
    has one minimum, found as the root of its derivative (Brent's method): exact, without a step size.

    Args:
        logits: ``(N, C)`` of samples that were not trained on.
        labels: ``(N,)`` integers.

    Raises:
        ValueError: samples for which no T is best: all answers right (the surer the better, T -> 0), or
            answers no better than guessing (the less sure the better, T -> infinity); logits or labels as in
            `class_logits`.

    Source: Guo et al. (2017), *On Calibration of Modern Neural Networks*, https://arxiv.org/abs/1706.04599.
    """
    from scipy.optimize import brentq

    x, y = class_logits(logits, labels)
    if not x.isfinite().all():
        raise ValueError("some logits are minus infinity; a temperature leaves such a probability at 0")
    own = x.gather(1, y[:, None]).mean()

    def slope(inverse: float) -> float:
        """Of the NLL by 1 / T: mean expected logit minus mean logit of the true class; it rises."""
        return float(((x * inverse).softmax(dim=1) * x).sum(dim=1).mean() - own)

    if (x.gather(1, y[:, None])[:, 0] >= x.amax(dim=1)).all():
        raise ValueError(
            f"all {len(x)} answers are right, so the NLL only falls as T goes to 0; fit T on more samples, "
            f"and on such as the model was not trained on"
        )
    if slope(0.0) >= 0:
        raise ValueError(
            "the true class has no higher a logit than the mean class, so the NLL only falls as T goes to "
            "infinity; the model knows nothing of these samples, or labels and logits do not belong together"
        )
    low, high = 0.0, 1.0 / max(float((x.amax(dim=1) - x.amin(dim=1)).mean()), 1e-300)
    while slope(high) < 0:
        low, high = high, 2 * high
    best = 1 / brentq(slope, low, high, xtol=1e-15 * high)
    # no rounding may leave the fitting set worse off than T = 1 does
    return best if cross_entropy(x / best, y) <= cross_entropy(x, y) else 1.0


def reliability_diagram(tables: Reliability | dict[str, Reliability], ax: Axes | None = None) -> Axes:
    """Accuracy against confidence, one line a table; below the diagonal a model is too sure.

    The area of a dot grows with its samples: a far-off dot of three samples says little.
    """
    import matplotlib.pyplot as plt

    from mmbook.plot import BLUE, GREEN, GREY, ORANGE, RED

    ax = plt.subplots(figsize=(4.2, 4), layout="constrained")[1] if ax is None else ax
    ax.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.5)
    named = {"": tables} if isinstance(tables, Reliability) else tables
    looks = zip((BLUE, RED, GREEN, ORANGE), ("-", "--", "-.", ":"), "osD^", strict=True)
    for (name, table), (colour, line, shape) in zip(named.items(), looks, strict=False):
        real = table.samples > 0
        share = table.samples[real] / table.samples.sum()
        label = f"{name}, ECE {table.ece:.3f}".removeprefix(", ")
        ax.plot(table.confidence[real], table.accuracy[real], line, color=colour, label=label)
        ax.scatter(table.confidence[real], table.accuracy[real], 15 + 200 * share, colour, marker=shape)
    ax.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
    ax.legend(frameon=False, loc="upper left")
    return ax
