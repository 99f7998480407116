"""Text as numbered words: the vocabulary of some texts, and the processor that looks words up in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from mmbook.preprocess.words import words
from mmbook.registry import register


@register
class WordProcessor:
    """A string to the ids of its known words ``(T,)`` long, T at least 1, for `mmbook.encoders.Word2Vec`.

    Words that are not in the vocabulary are left out. A text without any known word becomes the one id
    `unknown`: it is a text that says nothing, not a missing one.

    Args:
        vocabulary: V words, each once, lower-case as `mmbook.preprocess.words` gives them; a word's place is
            its id.

    Attributes:
        unknown: the id V.
        size: how many ids there are, V + 1.

    Raises:
        ValueError: no words, or a word that stands there twice.
    """

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self.vocabulary = list(vocabulary)
        self.place = {word: i for i, word in enumerate(self.vocabulary)}
        if len(self.place) != len(self.vocabulary) or not self.vocabulary:
            raise ValueError(
                f"the vocabulary has {len(self.vocabulary)} words, {len(self.place)} of them different; "
                f"give at least one, and each once"
            )
        self.unknown = len(self.vocabulary)
        self.size = self.unknown + 1

    def __call__(self, text: str) -> Tensor:
        """Ids ``(T,)`` long.

        Raises:
            TypeError: not a string.
        """
        if not isinstance(text, str):
            raise TypeError(
                f"WordProcessor got {type(text).__name__} {text!r:.60}; it takes one str. "
                f"A text that is missing is left out of the row"
            )
        found = [self.place[word] for word in words(text) if word in self.place]
        return torch.tensor(found or [self.unknown])


def vocabulary_of(texts: Iterable[str], min_count: int = 2, most: int = 20_000) -> list[str]:
    """The words of `texts`, the most frequent first, equally frequent ones in the order of the alphabet.

    Args:
        texts: of the training set alone: a word that only a test text has would never be trained.
        min_count: rarer words are left out. One that occurs once is learnt by heart, not understood.
        most: how many words there may be.

    Raises:
        ValueError: no word is left.
    """
    counted = Counter(word for text in texts for word in words(text))
    kept = sorted((word for word, n in counted.items() if n >= min_count), key=lambda w: (-counted[w], w))
    if not kept[:most]:
        raise ValueError(
            f"none of the {len(counted)} words occurs min_count={min_count} times; take a smaller min_count"
        )
    return kept[:most]
