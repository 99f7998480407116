"""A model's answers over a whole dataset, and the scores of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from mmbook.train.feed import Feed


class Predictions(NamedTuple):
    """A model's answers over a dataset, on the CPU, in the dataset's order.

    Attributes:
        logits: ``(N, ...)`` float32; empty of a model that gives none.
        labels: ``(N, ...)``; empty of a dataset that has none.
        loss: mean over the samples.
    """

    logits: Tensor
    labels: Tensor
    loss: float


@torch.no_grad()
def predict(engine: Accelerator, model: nn.Module, feed: Feed) -> Predictions:
    """Every sample once, shared out over the processes, and all answers on each of them."""
    training = model.training
    model.eval()
    found = []  # of each step: logits, labels, sum of the loss, samples
    for step in feed.steps():
        if not step.total:
            continue
        with engine.autocast():
            output = model(**step.batch)
        logits, labels = getattr(output, "logits", None), step.batch.get("labels")
        found.append(
            (
                torch.empty(0) if logits is None else logits[: step.real].float().cpu(),
                torch.empty(0) if labels is None else labels[: step.real].cpu(),
                output.loss.item() * step.real,
                step.real,
            )
        )
    model.train(training)
    if engine.num_processes > 1:
        everyones = gather_object([found])
        found = [each for step in zip(*everyones, strict=True) for each in step]
    every_logits, every_labels, losses, counts = zip(*found, strict=True)
    return Predictions(torch.cat(every_logits), torch.cat(every_labels), sum(losses) / sum(counts))


def scores_of(predictions: Predictions, model: nn.Module) -> dict[str, float]:
    """``loss`` and, by the type of the labels, the metrics of `mmbook.evaluate`."""
    from mmbook.evaluate.metrics import classification_metrics, regression_metrics

    logits, labels, loss = predictions
    scores = {"loss": loss}
    if not len(logits) or not len(labels):
        return scores
    by_task = getattr(getattr(model, "head", None), "by_task", None)
    answers: Mapping[str, tuple[Tensor, Tensor]]
    answers = {"": (logits, labels)} if by_task is None else by_task(logits, labels)
    for task, (ours, truth) in answers.items():
        metrics = regression_metrics if truth.is_floating_point() else classification_metrics
        scores |= {f"{task}_{key}".lstrip("_"): value for key, value in metrics(ours, truth).items()}
    return scores
