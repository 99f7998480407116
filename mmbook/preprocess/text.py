"""Text: cleaned, cut into word pieces or words, numbered; and the vocabulary of a training set."""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from mmbook.registry import register

_HIDDEN = re.compile(r"<!--.*?-->|<(script|style)\b.*?</\1\s*>", re.DOTALL | re.IGNORECASE)
# Tags inside a word's line: they go without a trace. All others stand between words: a space takes their
# place.
_INLINE = re.compile(
    r"</?(?:a|abbr|b|code|em|font|i|mark|s|small|span|strong|sub|sup|u)(?:\s[^<>]*)?>", re.IGNORECASE
)
_TAG = re.compile(r"</?[a-z][^<>]*>", re.IGNORECASE)


def clean(text: str) -> str:
    """`text` as a reader sees it: no HTML tags, entities resolved, one form for each letter, single spaces.

    Tags go before entities are resolved, so that a text *about* ``&lt;b&gt;`` keeps it. Letters with accents
    are composed (Unicode NFC): "é" can be one code point or two, which look the same and would be different
    word pieces. Case, punctuation and emoji stay: they carry feeling.
    """
    text = _HIDDEN.sub(" ", text)
    text = _TAG.sub(" ", _INLINE.sub("", text))
    text = unicodedata.normalize("NFC", html.unescape(text))
    return " ".join(text.split())


WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def words(text: str) -> list[str]:
    """The words of `text`, lower-case, in order; punctuation is dropped.

    A word is a run of letters and digits. An apostrophe inside it belongs to it, and a curly one becomes
    straight: ``"Don’t stop!"`` is ``["don't", "stop"]``. English and its neighbours write spaces between
    words; Chinese does not, and a sentence of it would come out as one long word.
    """
    return WORD.findall(text.lower().replace("’", "'"))


def _check_string(processor: object, text: object) -> None:
    if not isinstance(text, str):
        raise TypeError(
            f"{type(processor).__name__} got {type(text).__name__} {text!r:.60}; it takes one str. "
            f"A text that is missing is left out of the row"
        )


@register
class TextProcessor:
    """A string to word-piece ids ``(T,)`` long, from [CLS] to [SEP].

    The empty string is a legal text, [CLS][SEP]. A *missing* text is no string at all: leave it out of the
    row.

    Args:
        tokenizer: name of an asset, or path of a ``tokenizer.json``.
        max_length: longest T; the rest of the text is dropped, [SEP] stays.
    """

    def __init__(self, tokenizer: str = "minilm-tokenizer", max_length: int = 64) -> None:
        from tokenizers import Tokenizer

        from mmbook import assets

        if max_length < 2:
            raise ValueError(f"max_length is {max_length}; [CLS] and [SEP] alone need 2")
        path = tokenizer if tokenizer.endswith(".json") else assets.path(tokenizer)
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"no tokenizer file at {path}; give a tokenizer.json or the name of an asset"
            )
        self.max_length = max_length
        self.tokenizer = Tokenizer.from_file(str(path))
        # the file may bring a padding and a truncation of its own; collate pads, and max_length cuts
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_length)

    def __call__(self, text: str) -> Tensor:
        """Ids ``(T,)`` long, 2 <= T <= `max_length`.

        Raises:
            TypeError: not a string.
        """
        _check_string(self, text)
        return torch.tensor(self.tokenizer.encode(clean(text)).ids, dtype=torch.long)

    def tokens(self, ids: Tensor | Sequence[int]) -> list[str]:
        """The word pieces of ids ``(T,)``, as in ``["[CLS]", "un", "##forget", "##table", "[SEP]"]``."""
        return [str(self.tokenizer.id_to_token(int(i))) for i in ids]

    def decode(self, ids: Tensor | Sequence[int]) -> str:
        """The text of ids ``(T,)``, as far as the tokenizer kept it (MiniLM's lower-cases)."""
        return self.tokenizer.decode([int(i) for i in ids])


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
        _check_string(self, text)
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
