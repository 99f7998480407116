"""Made data whose best possible score is known exactly, with dials for who knows what."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from math import erfc, sqrt
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mmbook.book.datasets.joint import Ceiling, best_possible
from mmbook.book.datasets.questions import MODALITIES, Dial, Floats, clean_table, perceived, questions
from mmbook.data.arrays import ArrayDataset, from_arrays

SIZES = {"train": 2000, "valid": 1000, "test": 2000}
FORMS = ("vectors", "sequences")
LENGTHS = (4, 12)  # shortest and longest sequence, in tokens


class Synthetic(ArrayDataset):
    """Samples of a known distribution over a few symbols, dressed as features.

    The label is made of yes-or-no questions. *Redundancy*: every modality knows the answer. *Uniqueness*: one
    does; asked of each modality. *Synergy*: none does alone, the answer is whether an odd number of their
    coins show one (XOR). A dial is the number of bits that can be known about the answer, from 0 (no such
    question) to 1; what is lacking to 1 is lost by flipping the label's digit. With `k` questions there are
    ``2 ** k`` classes, and the information of the questions adds up.

    A symbol is drawn as a point: one of `dim` orthogonal vectors of length ``sqrt(dim)``, the same for every
    seed and split, plus Gaussian noise of deviation `jitter`. As ``"vectors"``, that is all: ``(1, dim)``. As
    ``"sequences"``, the point stands anywhere in a row of 4 to 12 tokens; the others are distractors, drawn
    from the vectors that stand for no symbol.

    Every row is a pure function of (seed, split, index), and does not depend on `size`. With the same seed
    and more `noise` or `missing`, the symbols spoiled before stay spoiled, so that curves compare like with
    like.

    Args:
        split: ``"train"``, ``"valid"`` or ``"test"``; independent draws.
        seed: of the draw.
        modalities: 2 to 4 of them, called a, b, c, d.
        redundancy, uniqueness, synergy: bits in [0, 1], or bits for groups: ``synergy={"ab": 0.6}`` is XOR of
            a and b, and the others, with no question of their own, show a coin that means nothing.
        noise: rate at which a symbol is replaced by a fair die (which may show it again); for all modalities
            or by name.
        missing: rate at which a modality is missing; for all or by name.
        form: ``"vectors"`` or ``"sequences"``.
        size: rows; as in `SIZES`, where not given.
        dim: width of the features; at least the number of symbols, for sequences one more.
        jitter: deviation of the Gaussian noise on every number.

    Attributes:
        modalities: the names.
        questions: what the label is made of (`mmbook.book.datasets.questions.Question`).
        table: the joint distribution ``(K + 1, ..., C)`` of the symbols as they are shown, K for a missing
            one, and the label.
        symbols: ``(N, M)`` long, as shown; K where missing.

    Raises:
        ValueError: an option outside what is listed, or more symbols than `dim` can hold.
    """

    def __init__(
        self,
        split: str,
        seed: int = 0,
        *,
        modalities: int = 3,
        redundancy: Dial = 0.0,
        uniqueness: Dial = 0.0,
        synergy: Dial = 0.0,
        noise: Dial = 0.0,
        missing: Dial = 0.0,
        form: str = "vectors",
        size: int | None = None,
        dim: int = 8,
        jitter: float = 0.3,
    ) -> None:
        if split not in SIZES:
            raise ValueError(f"unknown split {split!r}; choose one of {', '.join(SIZES)}")
        if form not in FORMS:
            raise ValueError(f"unknown form {form!r}; choose one of {', '.join(FORMS)}")
        if not 2 <= modalities <= len(MODALITIES):
            raise ValueError(f"modalities is {modalities}; there can be 2 to {len(MODALITIES)}")
        self.modalities = MODALITIES[:modalities]
        dials = {"redundancy": redundancy, "uniqueness": uniqueness, "synergy": synergy}
        self.questions = questions(self.modalities, dials)
        noises, losses = self._rates("noise", noise), self._rates("missing", missing)
        table = clean_table(self.modalities, self.questions)
        self._counts = np.array(table.shape[:-1])  # (M,), symbols of each modality
        if self._counts.max() + (form == "sequences") > dim:
            raise ValueError(
                f"dim is {dim}, but the {self._counts.max()} symbols"
                f"{' and at least one distractor' if form == 'sequences' else ''} need a direction each; "
                f"take a larger dim or fewer questions"
            )
        self.table = perceived(table, noises, losses)
        self.form, self.jitter, self._dim = form, jitter, dim
        self._streams = [np.random.default_rng([seed, list(SIZES).index(split), i]) for i in range(4)]
        symbols, labels = self._draw(table, SIZES[split] if size is None else size)
        self.symbols = torch.from_numpy(self._spoiled(symbols, noises, losses))
        arrays, lengths = self._rendered(self.symbols.numpy())
        rows = from_arrays(arrays, labels, lengths)
        super().__init__(rows.arrays, rows.lengths, rows.labels)

    def ceilings(self) -> dict[tuple[str, ...], Ceiling]:
        """Exact best accuracy and cross-entropy (nats) of every subset of modalities; the empty one first.

        Of a predictor that sees the symbols as shown, noise and losses included. From the features, jitter
        can make a symbol look like another; see `misread`.
        """
        axes = range(len(self.modalities))
        return {
            tuple(self.modalities[axis] for axis in seen): best_possible(self.table, seen)
            for size in range(len(axes) + 1)
            for seen in combinations(axes, size)
        }

    @property
    def misread(self) -> float:
        """Upper bound on the rate at which the token nearest to a symbol's vector is another token.

        Two vectors are ``sqrt(2 dim)`` apart; the bound adds up the chances of all other vectors and tokens.
        The ceilings of features differ from those of symbols by no more than this, for each modality.
        """
        tokens = 1 if self.form == "vectors" else LENGTHS[1]
        return tokens * self._dim * erfc(sqrt(self._dim) / (2 * self.jitter)) / 2 if self.jitter else 0.0

    def posterior(self) -> Tensor:
        """``(N, C)`` float64: the probability of each class, given what the sample shows. Exact."""
        shown = torch.from_numpy(self.table)[tuple(self.symbols.T)]
        return shown / shown.sum(dim=1, keepdim=True)

    def regret(self, predictions: ArrayLike | Tensor) -> NDArray[np.float64]:
        """By how much each prediction is less likely to be right than the best one: ``(N,)``, at least 0.

        The probabilities are those of the table, so the luck of which labels were drawn does not enter: the
        mean is zero where every prediction is the best one.

        Args:
            predictions: ``(N,)`` classes.

        Raises:
            ValueError: another number of predictions than samples.
        """
        chosen = torch.as_tensor(np.asarray(predictions))
        if chosen.shape != self.labels.shape:
            raise ValueError(f"predictions have shape {tuple(chosen.shape)}; there are {len(self)} samples")
        given = self.posterior()
        found: NDArray[np.float64] = (given.amax(dim=1) - given.gather(1, chosen[:, None])[:, 0]).numpy()
        return found

    def _rates(self, what: str, dial: Dial) -> list[float]:
        named = dial if isinstance(dial, Mapping) else dict.fromkeys(self.modalities, dial)
        for name, rate in named.items():
            if name not in self.modalities or not 0 <= rate <= 1:
                raise ValueError(
                    f"{what} of {name!r} is {rate}; give a rate from 0 to 1 for {', '.join(self.modalities)}"
                )
        return [named.get(name, 0.0) for name in self.modalities]

    def _draw(self, table: Floats, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Symbols ``(N, M)`` and labels ``(N,)``, one uniform number a row."""
        edges = table.ravel().cumsum()
        cell = np.searchsorted(edges / edges[-1], self._streams[0].random(size), side="right")
        *symbols, labels = np.unravel_index(cell, table.shape)
        return np.stack(symbols, axis=1), labels

    def _spoiled(
        self, symbols: NDArray[np.int64], noises: list[float], losses: list[float]
    ) -> NDArray[np.int64]:
        wrong, die, lost = np.moveaxis(self._streams[1].random((*symbols.shape, 3)), -1, 0)
        shown = np.where(wrong < noises, (die * self._counts).astype(np.int64), symbols)
        return np.where(lost < losses, self._counts, shown)

    def _rendered(self, symbols: NDArray[np.int64]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Features ``(N, T, dim)`` and lengths ``(N,)`` of each modality."""
        rows, names = len(symbols), self.modalities
        shortest, longest = (1, 1) if self.form == "vectors" else LENGTHS
        draws = self._streams[2].random((rows, len(names), longest + 2))
        jitter = self._streams[3].standard_normal((rows, len(names), longest, self._dim), dtype=np.float32)
        arrays, lengths = {}, {}
        for m, name in enumerate(names):
            count = self._counts[m]
            length = shortest + (draws[:, m, 0] * (longest - shortest + 1)).astype(np.int64)
            place = (draws[:, m, 1] * length).astype(np.int64)
            tokens = count + (draws[:, m, 2:] * (self._dim - count)).astype(np.int64)  # distractors
            tokens[np.arange(rows), place] = symbols[:, m]
            tokens[symbols[:, m] == count] = 0  # missing: length 0, whatever stands here
            codes = _codes(m, self._dim)
            arrays[name] = codes[tokens] + self.jitter * jitter[:, m]
            lengths[name] = np.where(symbols[:, m] == count, 0, length)
        return arrays, lengths


def _codes(modality: int, dim: int) -> NDArray[np.float32]:
    """`dim` orthogonal vectors of length ``sqrt(dim)``: rows of a random rotation that never changes."""
    square = np.random.default_rng([2014, modality, dim]).standard_normal((dim, dim))
    q, r = np.linalg.qr(square)
    return (q * np.sign(np.diag(r)) * np.sqrt(dim)).T.astype(np.float32)
