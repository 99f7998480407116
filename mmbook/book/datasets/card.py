"""A post of the spoken reviews as a compact HTML card, legible in light and dark, without a network."""

from __future__ import annotations

import base64
import io
import wave
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from mmbook.book.datasets.joint import FEELINGS, MODALITIES
from mmbook.book.datasets.sentences import readable

if TYPE_CHECKING:
    from IPython.display import HTML

    from mmbook.book.datasets.reviews import Post

# Colours are the page's own, except the white under the picture, which the drawings were made for.
_CARD = (
    "border:1px solid currentColor;border-radius:8px;padding:12px;margin:8px 0;max-width:36rem;"
    "display:flex;flex-wrap:wrap;gap:12px;align-items:center"
)


def card(post: Post) -> HTML:
    """Sentence, picture with alt text and labelled player; label and feelings behind a fold."""
    from IPython.display import HTML

    picture = io.BytesIO()
    post.picture.save(picture, "PNG")
    sound = f"data:audio/wav;base64,{_text(_wav(post))}"
    answer = ", ".join(
        f"{name} {FEELINGS[value]}" for name, value in zip(MODALITIES, post.feelings, strict=True)
    )
    return HTML(
        f'<div style="{_CARD}">'
        f'<img src="data:image/png;base64,{_text(picture.getvalue())}" alt="{escape(post.picture_name)}" '
        f'width="72" height="72" style="background:#fff;border-radius:6px">'
        f'<div style="flex:1 1 14rem;min-width:0">'
        f'<p style="margin:0 0 8px">{escape(readable(post.sentence))}</p>'
        f'<audio controls preload="metadata" style="width:100%;max-width:20rem" '
        f'aria-label="A voice says: {escape(post.phrase)}" src="{sound}"></audio>'
        f'<details style="margin-top:8px"><summary>Is the review positive?</summary>'
        f'<p style="margin:4px 0 0">The label is <strong>{FEELINGS[post.label]}</strong> '
        f"({escape(post.story)}). Feelings: {answer}.</p></details></div></div>"
    )


def _wav(post: Post) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(post.rate)
        out.writeframes(np.round(post.sound * 32767).astype("<i2").tobytes())
    return file.getvalue()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
