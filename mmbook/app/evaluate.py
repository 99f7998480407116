"""`mmbook evaluate`: how good a saved model is, beside what is reached without what it has learnt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmbook.app.console import opened, plainly

if TYPE_CHECKING:
    from mmbook.evaluate import Comparison, Report
    from mmbook.models import MultimodalModel


def evaluate(
    model: Annotated[str, typer.Argument(help="Folder where the model is saved.")],
    data: Annotated[Path, typer.Argument(help="CSV with a column for each modality, and labels.")],
    batch_size: Annotated[int, typer.Option(min=1, help="Samples a forward pass.")] = 32,
    train: Annotated[
        Path | None, typer.Option(help="CSV of the training set, whose labels give a control row of its own.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write all scores into this file.")] = None,
) -> None:
    """Score a model, with intervals, beside control rows: constant answers, and each modality alone."""
    with plainly():
        from mmbook.app.run_folder import check_out
        from mmbook.evaluate import ACCURACY, MACRO_F1, MAE, MSE, NLL

        if json is not None:
            check_out(json, data, train)
        found = compared(opened(model), data, batch_size, train)
        numbers = found.labels.is_floating_point()
        report = found.report(
            [MAE, MSE] if numbers else [ACCURACY, MACRO_F1, NLL], title=f"{model} on {data}"
        )
        typer.echo(str(report))
        scores = _scores(found)
        typer.echo("All scores of the model: " + ", ".join(f"{k} {v:.3f}" for k, v in scores.items()) + ".")
        if json is not None:
            _write(json, {"samples": len(found.labels), "scores": scores}, report)


def compared(
    model: MultimodalModel, data: Path, batch_size: int = 32, train: Path | None = None
) -> Comparison:
    """The answers of a model to a CSV, and those of its control rows.

    Control rows cannot be trained anew here. *majority class of this test set* (for numbers *mean* and
    *median*) knows the frequencies in these very samples; that *of the training set* is there where `train`
    is given. *only m* is the model's own answer when all other modalities are missing, so it falls behind a
    model of that modality alone, unless modalities were missing in training, too.
    """
    import torch

    from mmbook.app.config_data import Files, files_dataset, labels_for
    from mmbook.evaluate import Comparison, MissingAtRandom, predict_logits
    from mmbook.evaluate.comparison import THIS_TEST, TRAINING, constant_answers
    from mmbook.evaluate.views import View

    rows = View(files_dataset(model, data, keep=True))
    logits = predict_logits(model, rows, batch_size)[None]  # (1, N, ...): one training seed
    controls, knows = {}, "these samples"
    if train is not None:
        labels = torch.tensor(Files(train).labels(labels_for(model)))
        controls, knows = constant_answers(labels, logits, TRAINING), "the training set or in these samples"
    controls |= constant_answers(rows.labels, logits, THIS_TEST)
    names = [name for name in model.encoders if name in rows.modalities]
    for name in names if len(names) > 1 else ():
        others = {other: 1.0 for other in names if other != name}
        controls[f"only {name}"] = predict_logits(model, MissingAtRandom(rows, others), batch_size)[None]
    notes = [
        f"Control rows are not trained: the constant answers know how often each is right in {knows}; in the "
        f"others the model lacks all but one modality."
    ]
    return Comparison({"model": logits}, controls, rows.labels, notes=notes)


def _scores(found: Comparison) -> dict[str, float]:
    from mmbook.evaluate import classification_report, regression_report

    logits = found.methods["model"][0]
    score = regression_report if found.labels.is_floating_point() else classification_report
    return score(logits, found.labels)


def _write(file: Path, about: dict[str, Any], report: Report) -> None:
    import json

    rows: dict[str, dict[str, Any]] = {}
    for row in report.rows:
        values: Any = row.values  # all of them intervals
        rows[row.name] = {metric: value._asdict() for metric, value in values.items()}
    text = json.dumps(about | {"rows": rows})
    found = json.loads(text, parse_constant=lambda nan: None)  # JSON has no word for what is no number
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
