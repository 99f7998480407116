"""Methods and their control rows on the same data and seeds: trained, answered and reported side by side.

A fusion that does not beat its best single modality fuses nothing; a pipeline that beats a constant answer on
shuffled labels leaks the answer; and a test set that one looks at again and again, one begins to fit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from mmbook.evaluate.predicting import predict_logits
from mmbook.evaluate.report import Report, Row
from mmbook.evaluate.scores import Score, Statistic, several_labels, usual_scores
from mmbook.evaluate.views import labels_of, names_of, only, shuffled, shuffled_labels

# (train, valid, seed) -> a fitted model, as `predict_logits` takes it
Fit = Callable[[Any, Any, int], Any]
TRAINING, THIS_TEST = "of the training set", "of this test set"


class TestSet:
    """A dataset under lock; `open` gives it out and notes what for.

    `compare` opens it once for all its rows and prints under the table how often that has been done. Choose
    models and settings on the validation set, and open the test set when nothing is left to choose.

    Args:
        dataset: any.

    Attributes:
        uses: what it was opened for, in order.
    """

    __test__ = False  # or pytest takes it for a test

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self.uses: list[str] = []

    def open(self, purpose: str) -> Any:
        """The dataset, after one more use was counted.

        Raises:
            ValueError: no purpose.
        """
        if not purpose.strip():
            raise ValueError("say what the test set is opened for, such as 'final comparison of fusions'")
        self.uses.append(purpose)
        return self._dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: Any) -> Any:
        raise TypeError("a TestSet is not read row by row: .open('what for') gives the dataset and counts")

    def __str__(self) -> str:
        times = f"{len(self.uses)} time{'' if len(self.uses) == 1 else 's'}"
        return f"test set used {times}{': ' if self.uses else ''}{'; '.join(self.uses)}"


@dataclass(frozen=True)
class Comparison:
    """Answers of methods and control rows to one test set, ready to be scored in any way.

    Attributes:
        methods: name -> ``(S, N, ...)`` logits by training seed.
        controls: the same of the control rows.
        labels: ``(N, ...)``.
        clusters: as in `interval`.
        reason: why there are no control rows, where there are none.
        notes: lines for under the table.
    """

    methods: Mapping[str, Tensor]
    controls: Mapping[str, Tensor]
    labels: Tensor
    clusters: Mapping[str, ArrayLike] | None = None
    reason: str = ""
    notes: Sequence[str] = field(default_factory=tuple)

    def report(
        self,
        scores: Sequence[Score | Statistic] | None = None,
        *,
        title: str = "Comparison on the test set",
        reference: str | None = None,
        ceiling: Mapping[str, float] | None = None,
    ) -> Report:
        """The table: each row's scores, and how far the reference is from it on the same samples and seeds.

        Args:
            scores: None for accuracy and NLL, or MAE and MSE where labels are numbers (see `usual_scores`).
            title: the table's caption.
            reference: name of a method; None: the first.
            ceiling: metric -> the best possible value, where it is known.

        Raises:
            ValueError: an unknown reference; no control rows and no reason.
        """
        chosen: Sequence[Any] = usual_scores(self.labels) if scores is None else scores
        first = next(iter(self.methods)) if reference is None else reference
        if first not in self.methods:
            raise ValueError(f"reference is {first!r}; it must be one of {', '.join(self.methods)}")
        seeds = len(self.methods[first])
        ours, rows = [s.measure(self.methods[first], self.labels, self.clusters) for s in chosen], []
        for name, logits in {**self.methods, **self.controls}.items():
            found = [s.measure(logits, self.labels, self.clusters) for s in chosen]
            values = {s.name: f.interval() for s, f in zip(chosen, found, strict=True)}
            away = {}
            if name != first:
                away = {s.name: (a - f).interval() for s, a, f in zip(chosen, ours, found, strict=True)}
            constant = name in self.controls and name.endswith(THIS_TEST)
            rows.append(Row(name, values, name in self.controls, away, constant))
        return Report(
            rows,
            title=title,
            reference=first,
            controls=not self.reason,
            reason=self.reason,
            ceiling=ceiling or {},
            lower_is_better=[s.name for s in chosen if not s.higher],
            notes=[
                f"{len(self.labels)} test samples, {seeds} training seeds.",
                *self.notes,
            ],
        )

    def __str__(self) -> str:
        return str(self.report())

    def _repr_html_(self) -> str:
        return self.report()._repr_html_()


def compare(
    methods: Mapping[str, Fit],
    train: Any,
    valid: Any,
    test: Any,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    controlled: str | None = None,
    names: Sequence[str] | None = None,
    clusters: Mapping[str, ArrayLike] | None = None,
    without_controls: str = "",
) -> Comparison:
    """Train every method for every seed, and the control rows with them.

    Nobody has to ask for the control rows (see `controls`): constant answers, each modality alone, each
    shuffled, shuffled labels. They cost ``2 M + 1`` trainings a seed.

    Args:
        methods: name -> ``(train, valid, seed) -> model``; the model is run by `predict_logits`. The function
            makes a new model for whatever modalities the sets have that it is given.
        train, valid: datasets of rows with labels.
        test: the same, or a `TestSet`, whose use is then counted.
        seeds: of training; at least two, or nothing can be said about other seeds.
        controlled: which method the control rows are trained by; None: the first.
        names: of the modalities; None: as the dataset says.
        clusters: as in `interval`; None takes those of the test set, where it says.
        without_controls: the reason for leaving the control rows out; it is printed under the table.

    Raises:
        ValueError: no methods or seeds, or an unknown `controlled`.
    """
    if not methods or not seeds:
        raise ValueError(
            f"there are {len(methods)} methods and {len(seeds)} seeds; give at least one of each"
        )
    by = next(iter(methods)) if controlled is None else controlled
    if by not in methods:
        raise ValueError(f"controlled is {by!r}; it must be one of {', '.join(methods)}")
    rows = test.open(f"comparison of {', '.join(methods)}") if isinstance(test, TestSet) else test
    found = {name: trained_answers(fit, train, valid, rows, seeds) for name, fit in methods.items()}
    blind: dict[str, Tensor] = {}
    if not without_controls:
        blind = controls(methods[by], train, valid, rows, seeds=seeds, names=names)
    notes = [f"Control rows are trained as {by}."] if blind else []
    notes += [f"{str(test)[0].upper()}{str(test)[1:]}."] if isinstance(test, TestSet) else []
    if clusters is None:
        clusters = getattr(rows, "clusters", None)
    labels = torch.as_tensor(labels_of(rows))
    return Comparison(found, blind, labels, clusters, without_controls, notes)


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

    *majority class of the training set* and *of this test set*: whatever is asked, the most frequent class
    there (for other kinds of labels see `constant_answers`). Where the shares of the classes shift, the two
    differ, and no constant answer beats the second. *only m*: trained and tested with one modality.
    *shuffled m*: one modality dealt out anew in all three sets, so that it says nothing. *shuffled labels*:
    training and validation labels dealt out anew; the score must fall to chance.

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
        rows[f"only {name}"] = trained_answers(fit, a, b, c, seeds)
    for name in modalities:
        # a seed of its own for each set and training, or sets of one size would be dealt out alike
        dealt = ([shuffled(data, name, 3 * seed + k) for k, data in enumerate(sets)] for seed in seeds)
        each = [trained_answers(fit, a, b, c, [seed]) for seed, (a, b, c) in zip(seeds, dealt, strict=True)]
        rows[f"shuffled {name}"] = torch.cat(each)
    blind = [
        trained_answers(
            fit, shuffled_labels(train, 2 * seed), shuffled_labels(valid, 2 * seed + 1), test, [seed]
        )
        for seed in seeds
    ]
    rows["shuffled labels"] = torch.cat(blind)
    like = rows["shuffled labels"]
    known = {TRAINING: labels_of(train), THIS_TEST: labels_of(test)}
    constant = [constant_answers(torch.as_tensor(labels), like, of) for of, labels in known.items()]
    return constant[0] | constant[1] | rows


def trained_answers(fit: Fit, train: Any, valid: Any, test: Any, seeds: Sequence[int]) -> Tensor:
    """``(S, N, ...)``: one model fitted for each seed, and what it says to the test set."""
    return torch.stack([predict_logits(fit(train, valid, seed), test) for seed in seeds])


def constant_answers(labels: Tensor, like: Tensor, of: str) -> dict[str, Tensor]:
    """The rows that look at no input: one answer for all samples, the best that some labels know.

    For classes that is the most frequent one, with their frequencies as probabilities; for several labels at
    once the frequency of each, as a logit; for numbers their mean, the best by squared error, and their
    median, the best by absolute error.

    Args:
        labels: ``(N', ...)`` of the set that is known.
        like: ``(S, N, ...)`` answers to be compared with.
        of: the name of that set.

    Returns:
        name of the row -> ``(S, N, ...)`` on the scale of the answers.
    """
    if several_labels(labels):
        share = (labels.double().sum(dim=0) + 1) / (len(labels) + 2)  # unlikely, not impossible
        rows = {"frequency of each label": share.logit().float()}
    elif labels.is_floating_point():
        flat = labels.reshape(len(labels), -1)
        rows = {"mean": flat.mean(dim=0), "median": flat.quantile(0.5, dim=0)}
    else:
        # one more for each class: one that is not in the set is unlikely, not impossible
        count = torch.bincount(labels.long(), minlength=like.shape[-1]) + 1
        rows = {"majority class": (count / count.sum()).log()}
    shape = like.shape[:2]
    return {f"{name} {of}": row.expand(*shape, -1).reshape(like.shape).clone() for name, row in rows.items()}
