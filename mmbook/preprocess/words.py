"""Text: cut into words."""

from __future__ import annotations

import re

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def words(text: str) -> list[str]:
    """The words of `text`, lower-case, in order; punctuation is dropped.

    A word is a run of letters and digits. An apostrophe inside it belongs to it, and a curly one becomes
    straight: ``"Don’t stop!"`` is ``["don't", "stop"]``. English and its neighbours write spaces between
    words; Chinese does not, and a sentence of it would come out as one long word.
    """
    return WORD.findall(text.lower().replace("’", "'"))
