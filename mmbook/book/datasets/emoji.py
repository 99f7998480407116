"""Every emoji that both collections draw, with its name in many languages: pictures that know their names.

The names are those of the Unicode Consortium's CLDR, as the package ``emoji`` carries them (BSD licence).
People wrote them for each language; they are no translations of each other: 🍜 is "steaming bowl" in English
and "ラーメン", ramen, in Japanese. The drawings are Twemoji's (CC BY 4.0) and OpenMoji's (CC BY-SA 4.0).
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from mmbook.book.datasets.emoji_drawings import STYLES, code_of, draw, drawn
from mmbook.book.datasets.splits import check_split
from mmbook.preprocess import ImageProcessor, TextProcessor
from mmbook.seeding import digest

if TYPE_CHECKING:
    from IPython.display import HTML

LANGUAGES = ("en", "zh", "de", "fr", "es", "ja")
SKIN_TONES = frozenset(map(chr, range(0x1F3FB, 0x1F400)))
# Signs that tell a woman, a man or a direction apart, and the person they are put on: variants of one drawing
JOINER, SIGNS, PEOPLE = "\u200d", frozenset("♀♂➡\ufe0f"), str.maketrans("👨👩", "🧑🧑")


class NamedEmoji(NamedTuple):
    """One emoji; `names` by language, in lower case as CLDR has them, with spaces."""

    char: str
    code: str  # what `mmbook.book.datasets.emoji_drawings.draw` takes
    names: dict[str, str]
    split: str


class Emoji(Dataset[dict[str, Any]]):
    """Pictures of emoji; row ``i`` is ``{"image": (1, 3, size, size), "labels": which emoji, "id": i}``.

    ``labels`` is the place in `named_emoji`, the same in both styles. No class of one split occurs in
    another: this is a dataset for matching pictures with names, and the two styles of one split for
    recognising an emoji across styles.

    Args:
        split: "train" (80 %), "valid" or "test" (10 % each). The split hangs on a hash of the emoji without
            its signs of gender and direction, so that no two splits share an emoji or a variant of one.
        languages: of `names`; an emoji without a name in one of them is left out.
        style: "twemoji" or "openmoji". Both hold the same emoji in the same order.
        size: of the picture, in pixels; the drawings have 72.
        text: a language; the rows then hold also ``"text"``, the word-piece ids of the name in it, by
            ``TextProcessor()``. Its vocabulary is made for English.

    Raises:
        ValueError: an unknown split, style or language.

    `skipped` says how many emoji of Unicode are left out, and why.
    """

    def __init__(
        self,
        split: str = "train",
        languages: Sequence[str] = LANGUAGES,
        style: str = "twemoji",
        size: int = 72,
        text: str | None = None,
    ) -> None:
        if style not in STYLES:
            raise ValueError(f"style is {style!r}; it must be one of {', '.join(STYLES)}")
        if text is not None and text not in languages:
            raise ValueError(f"text is {text!r}; it must be one of languages, {', '.join(languages)}")
        self.split, self.languages, self.style = check_split(split), tuple(languages), style
        self.text = text
        self.emoji, self.skipped = named_emoji(self.languages)
        self.labels = np.array([i for i, row in enumerate(self.emoji) if row.split == split])
        self.processor = ImageProcessor(size)
        self._tokenize = None if text is None else TextProcessor()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        index = range(len(self))[index]  # IndexError where it should be, and negative indices
        row: dict[str, Any] = {"image": self.processor(self.raw(index))}
        if self._tokenize is not None and self.text is not None:
            row["text"] = self._tokenize(self.names(index)[self.text])
        return row | {"labels": int(self.labels[index]), "id": index}

    def char(self, index: int) -> str:
        """The emoji itself, as one writes it."""
        return self.emoji[self.labels[index]].char

    def names(self, index: int) -> dict[str, str]:
        """Language -> name."""
        return self.emoji[self.labels[index]].names

    def raw(self, index: int) -> Image.Image:
        """The drawing, RGB on white, 72 x 72 pixels; shared, so copy it before you draw into it."""
        return draw(self.emoji[self.labels[index]].code, self.style)

    def show(self, index: int) -> HTML:
        """The drawing beside its names."""
        from IPython.display import HTML

        file, names = io.BytesIO(), self.names(index)
        self.raw(index).save(file, "PNG")
        data = base64.b64encode(file.getvalue()).decode("ascii")
        lines = "".join(
            f'<li lang="{escape(language)}">{escape(name)} ({escape(language)})</li>'
            for language, name in names.items()
        )
        return HTML(
            f'<div style="display:flex;gap:12px;align-items:center">'
            f'<img src="data:image/png;base64,{data}" alt="{escape(next(iter(names.values())))}" width="72" '
            f'height="72" style="background:#fff;border-radius:6px"><ul style="margin:0">{lines}</ul></div>'
        )


@cache
def named_emoji(languages: tuple[str, ...] = LANGUAGES) -> tuple[tuple[NamedEmoji, ...], dict[str, int]]:
    """All emoji of `Emoji` in a fixed order, and how many were left out for which reason.

    Left out are those with a skin tone, which would be half of all and are nearly the same pictures; those
    that one of the two styles does not draw; and those without a name in one of `languages`.

    Raises:
        ValueError: a language that the package ``emoji`` has no names for; no language.
    """
    import emoji

    if not languages or any(language not in emoji.LANGUAGES for language in languages):
        raise ValueError(
            f"languages are {', '.join(languages) or 'none'}; choose from {', '.join(emoji.LANGUAGES)}"
        )
    for language in languages:
        emoji.config.load_language(language)
    found, skipped = [], Counter({"skin tone": 0, "not drawn in both styles": 0, "no name": 0})
    for char, entry in sorted(emoji.EMOJI_DATA.items()):
        if entry["status"] != emoji.STATUS["fully_qualified"]:
            continue  # another way to write an emoji that comes anyway
        code = code_of(char)
        if SKIN_TONES & set(char):
            skipped["skin tone"] += 1
        elif any(code not in drawn(style) for style in STYLES):
            skipped["not drawn in both styles"] += 1
        elif any(language not in entry for language in languages):
            skipped["no name"] += 1
        else:
            names = {language: entry[language].strip(":").replace("_", " ") for language in languages}
            found.append(NamedEmoji(char, code, names, _split(char)))
    return tuple(found), dict(skipped)


def family(char: str) -> str:
    """What the variants of one emoji share: "🏃", for a runner who is a woman or runs to the right."""
    parts = char.translate(PEOPLE).split(JOINER)
    kept = [part for part in parts if not set(part) <= SIGNS]  # a sign that stands alone is no variant
    return JOINER.join(kept or parts).rstrip("\ufe0f")


def _split(char: str) -> str:
    share = digest("named emoji", family(char)) / 2**64
    return "train" if share < 0.8 else "valid" if share < 0.9 else "test"
