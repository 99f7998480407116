"""What a model answers to a dataset, whatever kind of model it is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mmbook.modality import collate


@torch.no_grad()
def predict_logits(model: Any, dataset: Dataset, batch_size: int = 256) -> Tensor:
    """Logits ``(N, ...)`` float32 of every row of a dataset, in its order, on the CPU.

    Args:
        model: a module such as `MultimodalModel`, run in evaluation mode on the device where it is; or an
            object with ``predict(dataset)``, such as a `Trainer`; or a function from a dataset to its logits.
        dataset: rows as `collate` takes them.
        batch_size: rows a forward pass, for a module.

    Raises:
        ValueError: another number of answers than of rows: a score would stand for another test set.
    """
    if isinstance(model, nn.Module):
        logits = _run(model, dataset, batch_size)
    else:
        found = model.predict(dataset) if hasattr(model, "predict") else model(dataset)
        logits = torch.as_tensor(getattr(found, "logits", found)).detach().float().cpu()
    if len(logits) != len(dataset):  # type: ignore[arg-type]
        raise ValueError(
            f"the model gave {len(logits)} answers to {len(dataset)} rows; it must answer each, "  # type: ignore[arg-type]
            f"also those with missing modalities"
        )
    return logits


def _run(model: nn.Module, dataset: Dataset, batch_size: int) -> Tensor:
    training = model.training
    model.eval()
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    parts = []
    for batch in DataLoader(dataset, batch_size, collate_fn=collate):
        batch.pop("labels", None)
        output = model(**{key: value.to(device) for key, value in batch.items()})
        parts.append(output.logits.float().cpu())
    model.train(training)
    return torch.cat(parts)
