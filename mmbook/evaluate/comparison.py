"""Train methods and their control rows on the same data and seeds, and report them side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from mmbook.evaluate.controls import Fit, answers, controls
from mmbook.evaluate.report import Report, Row
from mmbook.evaluate.scores import Score, Statistic, usual_scores
from mmbook.evaluate.testset import TestSet
from mmbook.evaluate.views import labels_of


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
            scores: None for accuracy and NLL, or MAE and MSE where labels are numbers.
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
            away = {s.name: (a - f).interval() for s, a, f in zip(chosen, ours, found, strict=True)}
            rows.append(Row(name, values, name in self.controls, {} if name == first else away))
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

    Nobody has to ask for the control rows (see `controls`): majority class, each modality alone, each
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
    found = {name: answers(fit, train, valid, rows, seeds) for name, fit in methods.items()}
    blind: dict[str, Tensor] = {}
    if not without_controls:
        blind = controls(methods[by], train, valid, rows, seeds=seeds, names=names)
    notes = [f"Control rows are trained as {by}."] if blind else []
    notes += [f"{str(test)[0].upper()}{str(test)[1:]}."] if isinstance(test, TestSet) else []
    if clusters is None:
        clusters = getattr(rows, "clusters", None)
    labels = torch.as_tensor(labels_of(rows))
    return Comparison(found, blind, labels, clusters, without_controls, notes)
