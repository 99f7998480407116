"""Scenes of one to four emoji that lie apart: what is where? Made so that every box is exact.

The kinds are five families of drawings that look alike within, and no emoji of one split occurs in another:
a detector cannot know a drawing by heart. Places and sizes are drawn evenly, kinds independently, so that
where something lies says nothing about what it is.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from mmbook.book.datasets.emoji_clips import background
from mmbook.book.datasets.emoji_drawings import STYLES, drawn
from mmbook.book.datasets.splits import check_split, split_of_position
from mmbook.seeding import digest, stream

if TYPE_CHECKING:
    from IPython.display import HTML

KINDS = ("face", "heart", "clock", "animal", "flag")
# Code points from, to; flags are all pairs of regional indicators.
FAMILIES = {
    "face": ((0x1F600, 0x1F637), (0x1F641, 0x1F644), (0x1F910, 0x1F917), (0x1F970, 0x1F976)),
    "heart": ((0x1F493, 0x1F49F), (0x1F5A4, 0x1F5A4), (0x1F90D, 0x1F90E), (0x1F9E1, 0x1F9E1)),
    "clock": ((0x1F550, 0x1F567),),
    "animal": ((0x1F42D, 0x1F43C), (0x1F981, 0x1F981), (0x1F984, 0x1F984), (0x1F98A, 0x1F98A)),
}
SIZES = {"train": 4000, "valid": 400, "test": 600}
OBJECTS = 4  # at most
SIDES = 0.28, 0.46  # longer side of an emoji, as a share of the picture's: from, to


class Scene(NamedTuple):
    """One scene as a person meets it."""

    picture: Image.Image  # RGB, size x size
    kinds: list[str]
    boxes: Tensor  # (K, 4) left, top, right, bottom in pixels
    codes: list[str]  # code points of the emoji
    asked: str | None  # the kind that the text asks for


class EmojiScenes(Dataset[dict[str, Any]]):
    """A split of the scenes; row ``i`` is ``{"image": (1, 3, size, size), "labels": (4, 5), "id": i}``.

    A row of the labels is a class (a place in ``classes``) and a box: centre x, centre y, width and height
    as shares of the picture. Rows of class -1 are padding. The drawings are Twemoji's (CC BY 4.0) or
    OpenMoji's (CC BY-SA 4.0); everything else is made, as a pure function of (seed, split, index).

    Args:
        split: "train" (60 % of each kind's emoji), "valid" (10 %) or "test" (30 %).
        count: number of scenes; None for 4,000, 400 and 600. A smaller set is the beginning of a larger one.
        seed: of every draw.
        size: height and width, in pixels; from 32.
        style: "twemoji" or "openmoji": the same scenes, drawn by other hands.
        asks: True for a question as well: the rows then hold "text", the word-piece ids of "find every
            heart", say, and labels only for what is asked, which may be nothing.

    Raises:
        ValueError: an unknown split or style, a count below 1, a size below 32.
    """

    classes = KINDS

    def __init__(
        self,
        split: str = "train",
        count: int | None = None,
        seed: int = 0,
        size: int = 64,
        style: str = "twemoji",
        asks: bool = False,
    ) -> None:
        self.split, self.seed, self.size, self.style = check_split(split), seed, size, style
        self.count, self.asks = SIZES[split] if count is None else count, asks
        if self.count < 1 or size < 32:
            raise ValueError(f"count is {count} and size {size}; give at least 1, and a size from 32")
        if style not in STYLES:
            raise ValueError(f"style is {style!r}; it must be one of {', '.join(STYLES)}")

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        from mmbook.preprocess import ImageProcessor, TextProcessor

        scene = self.raw(index)
        row: dict[str, Any] = {"image": ImageProcessor(self.size)(scene.picture)}
        if scene.asked is not None:
            row["text"] = TextProcessor()(f"find every {scene.asked}")
        return row | {"labels": self._labels(scene), "id": range(len(self))[index]}

    def raw(self, index: int) -> Scene:
        """Scene `index` before any preprocessing; kinds and boxes are of all that lies there."""
        index = range(len(self))[index]  # IndexError where it should be, and negative indices
        random = stream("scenes", self.seed, self.split, index)
        canvas = background(random, self.size).movedim(0, -1).round().to(torch.uint8).numpy()
        picture = Image.fromarray(np.ascontiguousarray(canvas)).convert("RGBA")
        asked = str(random.choice(KINDS)) if self.asks else None
        kinds: list[str] = []
        boxes: list[tuple[int, ...]] = []
        codes: list[str] = []
        for _ in range(random.integers(1, OBJECTS + 1)):
            kind = str(random.choice(KINDS))
            code = str(random.choice(codes_of(self.split)[kind]))
            longer = random.uniform(*SIDES) * self.size
            # the size is Twemoji's in both styles, so that the scene is the same
            drawing = cut_out(code, "twemoji")
            width, height = (max(1, round(n * longer / max(drawing.size))) for n in drawing.size)
            place = free_place(random, boxes, self.size, width, height)
            if place is None:
                break  # full: a scene has at least the first
            drawing = cut_out(code, self.style).resize((width, height), Image.Resampling.LANCZOS)
            picture.alpha_composite(drawing, place)
            boxes.append((*place, place[0] + width, place[1] + height))
            kinds.append(kind)
            codes.append(code)
        return Scene(picture.convert("RGB"), kinds, torch.tensor(boxes).float(), codes, asked)

    def _labels(self, scene: Scene) -> Tensor:
        labels = torch.zeros(OBJECTS, 5)
        labels[:, 0] = -1
        low, high = scene.boxes[:, :2] / self.size, scene.boxes[:, 2:] / self.size
        rows = torch.cat([(low + high) / 2, high - low], dim=1)
        wanted = [i for i, kind in enumerate(scene.kinds) if scene.asked in (None, kind)]
        for row, i in enumerate(wanted):
            labels[row, 0] = KINDS.index(scene.kinds[i])
            labels[row, 1:] = rows[i]
        return labels

    def show(self, index: int) -> HTML:
        """Scene `index`, three times as large, with the answer behind a fold."""
        from IPython.display import HTML

        scene, file = self.raw(index), io.BytesIO()
        scene.picture.save(file, "PNG")
        data, side = base64.b64encode(file.getvalue()).decode("ascii"), 3 * self.size
        question = "What is where?" if scene.asked is None else f"Find every {scene.asked}."
        lines = "".join(
            f"<li>{escape(kind)}, from ({left:.0f}, {top:.0f}) to ({right:.0f}, {bottom:.0f})</li>"
            for kind, (left, top, right, bottom) in zip(scene.kinds, scene.boxes.tolist(), strict=True)
        )
        return HTML(
            f'<img src="data:image/png;base64,{data}" alt="A scene of {len(scene.kinds)} emoji" '
            f'width="{side}" height="{side}" style="image-rendering:pixelated">'
            f"<details><summary>{question}</summary><ul>{lines}</ul></details>"
        )


@cache
def codes_of(split: str) -> dict[str, tuple[str, ...]]:
    """Kind -> codes of its emoji in `split`, in an order that comes from a hash."""
    both = drawn("twemoji").keys() & drawn("openmoji").keys()
    found = {
        kind: [f"{c:x}" for low, high in ranges for c in range(low, high + 1)]
        for kind, ranges in FAMILIES.items()
    }
    found["flag"] = [code for code in both if code.startswith("1f1") and code.count("-") == 1]
    chosen = {}
    for kind in KINDS:
        codes = sorted(both.intersection(found[kind]), key=lambda code: digest("scenes", code))
        places = [split_of_position(i, len(codes), train=0.6, valid=0.1) for i in range(len(codes))]
        chosen[kind] = tuple(code for code, place in zip(codes, places, strict=True) if place == split)
    return chosen


@cache
def cut_out(code: str, style: str) -> Image.Image:
    """The drawing with its opacity, RGBA, cut to where it is not transparent. Shared: copy it first."""
    data = drawn(style)[code]
    if style == "openmoji":
        from resvg_py import svg_to_bytes

        data = bytes(svg_to_bytes(svg_string=data.decode(), width=144, height=144))
    picture = Image.open(io.BytesIO(data)).convert("RGBA")
    return picture.crop(picture.getchannel("A").getbbox())


def free_place(
    random: np.random.Generator, boxes: Sequence[tuple[int, ...]], size: int, width: int, height: int
) -> tuple[int, int] | None:
    """Left and top for a drawing that touches none of `boxes`; None where forty trials find nothing."""
    for _ in range(40):
        left, top = (int(random.integers(0, size - side + 1)) for side in (width, height))
        if all(left > b[2] or b[0] > left + width or top > b[3] or b[1] > top + height for b in boxes):
            return left, top
    return None
