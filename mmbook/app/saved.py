"""A saved model that can read files, or the reason why it cannot."""

from __future__ import annotations

from pathlib import Path

from mmbook.heads import Classification, Regression
from mmbook.models import MultimodalModel


def saved_model(folder: str | Path) -> MultimodalModel:
    """The model in a folder of this machine, on the CPU, in evaluation mode.

    Raises:
        FileNotFoundError: no model is saved there.
        ValueError: it has no processors, or a head whose labels and answers do not fit a table.
    """
    if not Path(folder, "config.json").is_file():
        raise FileNotFoundError(f"no model is saved in {folder}; give a folder with a config.json")
    model = MultimodalModel.from_pretrained(str(folder))
    if set(model.preprocess) != set(model.encoders):
        raise ValueError(
            f"the model in {folder} has encoders for {', '.join(model.encoders)}, and processors for "
            f"{', '.join(model.preprocess) or 'none'}; save it with preprocess={{...}} for each"
        )
    if not isinstance(model.head, Classification | Regression):
        raise ValueError(
            f"the head of the model in {folder} is {type(model.head).__name__}; files have labels and "
            f"answers for Classification and Regression"
        )
    return model
