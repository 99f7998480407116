"""A label made of yes-or-no questions, each answered by all of its modalities, by one, or by none alone.

The joint table of symbols and label follows from the questions, and with it everything that can be known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Dial = float | Mapping[str, float]

MODALITIES = ("a", "b", "c", "d")
KINDS = ("redundancy", "uniqueness", "synergy")


class Question(NamedTuple):
    """One binary digit of the label.

    Attributes:
        kind: ``"redundancy"``: all of `names` see the same coin, the answer. ``"uniqueness"``: the one of
            `names` sees it. ``"synergy"``: each of `names` sees a coin of its own; the answer is whether
            they show an odd number of ones (XOR, for two).
        names: the modalities that take part.
        bits: how much can be known about the answer by those who see it all.
        flip: how often the label's digit is the other one; chosen such that ``bits = 1 - H(flip)``.
    """

    kind: str
    names: tuple[str, ...]
    bits: float
    flip: float


def questions(modalities: Sequence[str], dials: Mapping[str, Dial]) -> list[Question]:
    """The questions that the dials ask for, in the order of `KINDS`; a dial at 0 asks none.

    Args:
        modalities: the names there are.
        dials: kind -> bits in [0, 1]: for all modalities (uniqueness: for each of them), or for those named:
            ``{"ab": 0.6}`` is a question to a and b.

    Raises:
        ValueError: bits outside [0, 1], names that are no modality or too many or few, or no question at all.
    """
    asked = []
    for kind in KINDS:
        dial = dials.get(kind, 0.0)
        everyone = modalities if kind == "uniqueness" else ["".join(modalities)]
        groups = dial if isinstance(dial, Mapping) else dict.fromkeys(everyone, dial)
        for group, bits in groups.items():
            names = tuple(name for name in modalities if name in group)
            if sorted(group) != list(names) or (len(names) == 1) != (kind == "uniqueness"):
                raise ValueError(
                    f"{kind} is asked of {group!r}; name {'one' if kind == 'uniqueness' else 'two or more'} "
                    f"of {', '.join(modalities)}, each once, as in {everyone[0]!r}"
                )
            if not 0 <= bits <= 1:
                raise ValueError(f"{kind} of {group!r} is {bits}; a yes-or-no question has 0 to 1 bits")
            if bits:
                asked.append(Question(kind, names, bits, _flip(bits)))
    if not asked:
        raise ValueError(f"every dial is at 0, so there is no label; turn one of {', '.join(KINDS)} up")
    return asked


def clean_table(modalities: Sequence[str], asked: Sequence[Question]) -> Floats:
    """The distribution ``(K, ..., K', C)`` of the symbols and the label, with no symbol misread or missing.

    A symbol's binary digits are the coins that its modality sees, one for each of its questions, the first
    question lowest; a modality without a question sees one coin that means nothing. The label's digits are
    the answers, each flipped at the rate of its question.
    """
    own = {name: [q for q in asked if name in q.names] for name in modalities}
    sizes = [2 ** max(1, len(own[name])) for name in modalities]
    symbols = dict(zip(modalities, np.indices(sizes), strict=True))
    share, label = np.ones(sizes), np.indices((2 ** len(asked),))[0]
    given = np.ones((*sizes, len(label)))  # P(label | symbols)
    for place, question in enumerate(asked):
        coins = [symbols[name] >> own[name].index(question) & 1 for name in question.names]
        if question.kind == "synergy":
            answer = np.bitwise_xor.reduce(coins)
        else:
            answer = coins[0]
            share = share * np.all([coin == answer for coin in coins], axis=0)
        wrong = answer[..., None] != (label >> place & 1)
        given *= np.where(wrong, question.flip, 1 - question.flip)
    return share[..., None] / share.sum() * given


def perceived(table: Floats, noise: Sequence[float], missing: Sequence[float]) -> Floats:
    """The distribution of what is left of the symbols, ``(K + 1, ..., C)``: index K means missing.

    Each symbol is lost at its rate of `missing`; else, at its rate of `noise`, a fair die replaces it.
    """
    for axis, (wrong, lost) in enumerate(zip(noise, missing, strict=True)):
        size = table.shape[axis]
        channel = (1 - lost) * ((1 - wrong) * np.eye(size) + wrong / size)
        channel = np.concatenate([channel, np.full((size, 1), lost)], axis=1)  # (K, K + 1): P(left | symbol)
        table = np.moveaxis(np.tensordot(table, channel, axes=(axis, 0)), -1, axis)
    return table


def _flip(bits: float) -> float:
    """The error rate in [0, 1/2] of a binary channel that lets `bits` through."""
    from scipy.optimize import brentq

    def surplus(rate: float) -> float:
        return 1 + sum(x * np.log2(x) for x in (rate, 1 - rate) if x > 0) - bits

    return float(brentq(surplus, 0.0, 0.5, xtol=1e-14))
