"""What a model answers to a dataset, whatever kind of model it is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mmbook.answers import answers, logits_of
from mmbook.modality import collate


def predict_logits(model: Any, dataset: Dataset, batch_size: int = 256) -> Tensor:
    """Logits ``(N, ...)`` float32 of every row of a dataset, in its order, on the CPU.

    Args:
        model: a module, run in evaluation mode on the device where it is: a `mmbook.MultimodalModel`, or any
            whose ``forward`` takes the modalities by name, or the only one as its first argument, and
            returns logits or an object that has them; or an object with ``predict(dataset)``, such as a
            `mmbook.Trainer`; or a function from a dataset to its logits.
        dataset: rows as `mmbook.collate` takes them; labels are not needed.
        batch_size: rows a forward pass, for a module.

    Raises:
        ValueError: another number of answers than of rows: a score would stand for another test set.
    """
    if isinstance(model, nn.Module):
        batches = (_unlabelled(batch) for batch in DataLoader(dataset, batch_size, collate_fn=collate))
        logits = torch.cat(answers(model, batches, lambda output, batch: logits_of(output).float().cpu()))
    else:
        found = model.predict(dataset) if hasattr(model, "predict") else model(dataset)
        logits = torch.as_tensor(getattr(found, "logits", found)).detach().float().cpu()
    if len(logits) != len(dataset):  # type: ignore[arg-type]
        raise ValueError(
            f"the model gave {len(logits)} answers to {len(dataset)} rows; it must answer each, "  # type: ignore[arg-type]
            f"also those with missing modalities"
        )
    return logits


def _unlabelled(batch: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in batch.items() if key != "labels"}
