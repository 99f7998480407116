"""A trained model's answers over a whole dataset, shared out over the processes, and the scores of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from mmbook.answers import evaluating
from mmbook.train.accelerator import everyones
from mmbook.train.batches import Loader, Step


class Predictions(NamedTuple):
    """A model's answers over a dataset, on the CPU, in the dataset's order.

    Attributes:
        logits: ``(N, ...)`` float32; empty of a model that gives none.
        labels: ``(N, ...)``; empty of a dataset that has none.
        loss: mean over the samples; None where there is none.
    """

    logits: Tensor
    labels: Tensor
    loss: float | None


class _Answered(NamedTuple):
    """One process's answers to one step; of the samples' losses and those between them, sum and count."""

    logits: Tensor
    labels: Tensor
    own: tuple[float, float]
    between: tuple[float, float]


def predictions(accelerator: Accelerator, model: nn.Module, inner: nn.Module, loader: Loader) -> Predictions:
    """Every sample once, shared out over the processes, and all answers on each of them.

    Args:
        accelerator: knows the device, the precision and the other processes.
        model: as the accelerator prepared it.
        inner: the model itself; see `mmbook.train.gradient.Gradient`.
        loader: of the dataset.
    """
    with evaluating(model):
        found = [_answered(accelerator, model, inner, step) for step in loader.steps() if step.total]
    if accelerator.num_processes > 1:
        found = [each for step in zip(*gather_object([found]), strict=True) for each in step]
    logits, labels, own, between = zip(*found, strict=True)
    means = [
        total / count
        for total, count in (map(sum, zip(*pairs, strict=True)) for pairs in (own, between))
        if count
    ]
    return Predictions(torch.cat(logits), torch.cat(labels), sum(means) if means else None)


def _answered(accelerator: Accelerator, model: nn.Module, inner: nn.Module, step: Step) -> _Answered:
    counter: Any = getattr(inner, "num_items", None)
    with accelerator.autocast():
        output = model(**step.batch, **({} if counter is None else {"num_items_in_batch": 1}))
    logits, labels = getattr(output, "logits", None), step.batch.get("labels")
    own, between = (0.0, 0.0), (0.0, 0.0)
    if output.loss is not None and step.real:
        if counter is None:
            own = output.loss.item() * step.real, step.real
        else:
            own = output.loss.item(), float(counter(**step.batch))
    embeddings, contrast = getattr(output, "embeddings", None), getattr(inner, "contrast", None)
    if embeddings and contrast is not None:
        ours = {name: value[: step.real] for name, value in embeddings.items()}
        value = contrast(everyones(accelerator, ours)).item()
        between = (value * step.real, step.real)
    return _Answered(
        torch.empty(0) if logits is None else logits[: step.real].float().cpu(),
        torch.empty(0) if labels is None else labels[: step.real].cpu(),
        own,
        between,
    )


def scores_of(found: Predictions, model: nn.Module) -> dict[str, float]:
    """``loss`` and, by the type of the labels, the metrics of `mmbook.evaluate`."""
    from mmbook.evaluate import classification_metrics, regression_metrics

    logits, labels, loss = found
    scores = {} if loss is None else {"loss": loss}
    if not len(logits) or not len(labels):
        return scores
    by_task = getattr(getattr(model, "head", None), "by_task", None)
    answers: Mapping[str, tuple[Tensor, Tensor]]
    answers = {"": (logits, labels)} if by_task is None else by_task(logits, labels)
    for task, (ours, truth) in answers.items():
        metrics = regression_metrics if truth.is_floating_point() else classification_metrics
        scores |= {f"{task}_{key}".lstrip("_"): value for key, value in metrics(ours, truth).items()}
    return scores
