"""Pairs of words, related and unrelated, on which word vectors are compared.

The list was written down before any similarity was computed and holds no human scores: it asks whether two
sets of vectors agree *with each other*. It is made of blocks of four words and four pairs. Two pairs of a
block are related, in the way that the list says (film, movie; kitchen, cook); the two others cross them
(film, cook; kitchen, movie). So each word stands once beside a related word and once beside an unrelated one,
and a vector that is close to everything gains nothing. No word is in two blocks: blocks are independent of
each other.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).with_name("word_pairs.csv")
RELATIONS = ("synonym", "opposite", "kind", "part", "topic", "none")


class WordPair(NamedTuple):
    """Two words, and how they are related.

    Attributes:
        block: pairs that share a word share this number.
        first, second: lower-case words.
        relation: "synonym" (nearly the same sense), "opposite", "kind" (two of one kind), "part" (one is part
            of the other), "topic" (met in the same place), or "none".
    """

    block: int
    first: str
    second: str
    relation: str


@cache
def word_pairs() -> tuple[WordPair, ...]:
    """The whole list, in the order of ``word_pairs.csv``."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return tuple(
            WordPair(int(row["block"]), row["first"], row["second"], row["relation"])
            for row in csv.DictReader(file)
        )
