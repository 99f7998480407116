"""At which scale the chapters run: a laptop's, or a GPU's."""

from __future__ import annotations

import os

SCALES = ("laptop", "gpu")


def scale() -> str:
    """The scale named by the environment variable ``MMBOOK_SCALE``: ``"laptop"`` (default) or ``"gpu"``.

    Raises:
        ValueError: any other value.
    """
    value = os.environ.get("MMBOOK_SCALE", "laptop")
    if value not in SCALES:
        raise ValueError(f"MMBOOK_SCALE is {value!r}; it must be one of {', '.join(SCALES)}")
    return value
