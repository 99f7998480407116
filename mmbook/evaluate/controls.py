"""The rows that every comparison needs beside its methods: what is reached without learning what was meant.

A fusion that does not beat its best single modality fuses nothing; a pipeline that beats the majority class
on shuffled labels leaks the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mmbook.evaluate.predicting import predict_logits
from mmbook.evaluate.views import labels_of, names_of, only, shuffled, shuffled_labels

# (train, valid, seed) -> a fitted model, as `predict_logits` takes it
Fit = Callable[[Any, Any, int], Any]


def controls(
    fit: Fit,
    train: Any,
    valid: Any,
    test: Any,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    names: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """Answers of the control rows to one test set, each by the very procedure that is to be controlled.

    *majority class* (for numbers *mean*): whatever is asked, the training set's most frequent class, with its
    frequencies as probabilities. *only m*: trained and tested with one modality. *shuffled m*: one
    modality dealt out anew in all three sets, so that it says nothing. *shuffled labels*: training and
    validation labels dealt out anew; the score must fall to chance.

    Args:
        fit: ``(train, valid, seed) -> model``; it must make a new model of the modalities that it is given.
        train, valid, test: datasets of rows with labels.
        seeds: one training of each row for each.
        names: of the modalities; None: as the dataset says.

    Returns:
        name of the row -> ``(S, N, ...)`` logits. With one modality there are no *only* rows.

    Raises:
        ValueError: no seeds, or sets that differ in their modalities.
    """
    if not seeds:
        raise ValueError("there are no seeds; give at least one, better three")
    sets = (train, valid, test)
    modalities = tuple(names or names_of(train))
    for other in (valid, test):
        if names is None and set(names_of(other)) != set(modalities):
            raise ValueError(
                f"train has {', '.join(modalities)}, but another set {', '.join(names_of(other))}; "
                f"give names=[...] of those to be compared"
            )
    rows: dict[str, Tensor] = {}
    for name in modalities if len(modalities) > 1 else ():
        a, b, c = (only(data, [name]) for data in sets)
        rows[f"only {name}"] = answers(fit, a, b, c, seeds)
    for name in modalities:
        # a seed of its own for each set and training, or sets of one size would be dealt out alike
        dealt = ([shuffled(data, name, 3 * seed + k) for k, data in enumerate(sets)] for seed in seeds)
        each = [answers(fit, a, b, c, [seed]) for seed, (a, b, c) in zip(seeds, dealt, strict=True)]
        rows[f"shuffled {name}"] = torch.cat(each)
    blind = [
        answers(fit, shuffled_labels(train, 2 * seed), shuffled_labels(valid, 2 * seed + 1), test, [seed])
        for seed in seeds
    ]
    rows["shuffled labels"] = torch.cat(blind)
    return prior(labels_of(train), rows["shuffled labels"]) | rows


def answers(fit: Fit, train: Any, valid: Any, test: Any, seeds: Sequence[int]) -> Tensor:
    """``(S, N, ...)``: one model fitted for each seed, and what it says to the test set."""
    return torch.stack([predict_logits(fit(train, valid, seed), test) for seed in seeds])


def prior(labels: Tensor, like: Tensor) -> dict[str, Tensor]:
    """The row that looks at no input, from training labels, in the shape of other answers ``(S, N, ...)``."""
    if labels.is_floating_point():
        mean = labels.reshape(len(labels), -1).mean(dim=0)
        return {"mean": mean.expand(*like.shape[:2], -1).reshape(like.shape).clone()}
    # one more for each class: one that is not in the training set is unlikely, not impossible
    count = torch.bincount(labels.long(), minlength=like.shape[-1]) + 1
    return {"majority class": (count / count.sum()).log().expand(like.shape).clone()}
