"""A post of the spoken reviews as a person meets it."""

from __future__ import annotations

import base64
import io
import wave
from html import escape
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmbook.book.datasets.joint import FEELINGS, MODALITIES
from mmbook.book.datasets.sentences import readable

if TYPE_CHECKING:
    from IPython.display import HTML

# Colours are the page's own, except the white under the picture, which the drawings were made for.
_CARD = (
    "border:1px solid currentColor;border-radius:8px;padding:12px;margin:8px 0;max-width:36rem;"
    "display:flex;flex-wrap:wrap;gap:12px;align-items:center"
)


class Post(NamedTuple):
    """One spoken review as a person meets it."""

    sentence: str  # as published, lower-case
    picture: Image.Image  # RGB, 72 x 72
    picture_name: str  # for alt text
    sound: NDArray[np.float32]  # (T,) in [-1, 1]
    rate: int  # Hz
    phrase: str  # what the voice says
    label: int  # 0 negative, 1 positive
    feelings: tuple[int, int, int]  # of text, image, audio
    story: str  # of the row of the joint table
    sentence_id: int
    picture_id: int  # of the emoji; its two drawings share it
    voice_id: int

    def show(self) -> HTML:
        """A compact card, legible in light and dark, without a network: sentence, picture with alt text,
        labelled player; label and feelings behind a fold.
        """
        from IPython.display import HTML

        picture = io.BytesIO()
        self.picture.save(picture, "PNG")
        sound = f"data:audio/wav;base64,{_text(_wav(self.sound, self.rate))}"
        answer = ", ".join(
            f"{name} {FEELINGS[value]}" for name, value in zip(MODALITIES, self.feelings, strict=True)
        )
        return HTML(
            f'<div style="{_CARD}">'
            f'<img src="data:image/png;base64,{_text(picture.getvalue())}" alt="{escape(self.picture_name)}" '
            f'width="72" height="72" style="background:#fff;border-radius:6px">'
            f'<div style="flex:1 1 14rem;min-width:0">'
            f'<p style="margin:0 0 8px">{escape(readable(self.sentence))}</p>'
            f'<audio controls preload="metadata" style="width:100%;max-width:20rem" '
            f'aria-label="A voice says: {escape(self.phrase)}" src="{sound}"></audio>'
            f'<details style="margin-top:8px"><summary>Is the review positive?</summary>'
            f'<p style="margin:4px 0 0">The label is <strong>{FEELINGS[self.label]}</strong> '
            f"({escape(self.story)}). Feelings: {answer}.</p></details></div></div>"
        )


def _wav(sound: NDArray[np.float32], rate: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(np.round(sound * 32767).astype("<i2").tobytes())
    return file.getvalue()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
