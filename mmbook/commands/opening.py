"""The model that a command is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmbook.models import MultimodalModel


def opened(folder: str) -> MultimodalModel:
    """The model saved in a folder, on the GPU where there is one.

    Raises:
        FileNotFoundError: no model is saved there.
        ValueError: it cannot read files.
    """
    import torch

    from mmbook.predict.saved import saved_model

    return saved_model(folder).to("cuda" if torch.cuda.is_available() else "cpu")
