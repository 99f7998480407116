"""A CSV of files with labels as a dataset, to score a saved model on."""

from __future__ import annotations

from pathlib import Path

from mmbook.app.predict import class_names
from mmbook.app.read import item_readers, loaded
from mmbook.app.sources import CsvSource, Sample
from mmbook.data.files import FileDataset, Skipped
from mmbook.heads import Classification, Regression
from mmbook.models import MultimodalModel


def files_dataset(model: MultimodalModel | str | Path, csv: str | Path, keep: bool = False) -> FileDataset:
    """The labelled rows of a CSV, as ``mmbook.Trainer(...).evaluate`` and `mmbook.collate` take them.

    Labels are class names or their numbers; for regression a number, or as many as the head has targets,
    with spaces between. A row with a bad file is left out, named in ``.skipped``, and counted in a warning.
    A row's "id" is its place in the CSV, from 0, so that left-out rows leave their gaps.

    Args:
        model: with processors, and a head for classification or regression; or the folder where it was saved.
        csv: columns as in `mmbook.app.predict.predict_files`, with "labels".
        keep: hold what was read in memory; else each access reads the files again.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no column "labels", an empty one, an unknown class or a word that is no number (with the
            row and what is allowed); not a single row that can be read; what `predict_files` refuses.
    """
    model = loaded(model)
    path = Path(csv)
    if not path.is_file():
        raise FileNotFoundError(f"no CSV file at {path}")
    rows, left_out = [], []
    samples = [sample for batch in CsvSource(model, path).batches(4096) for sample in batch]
    for number, sample in enumerate(samples):
        if sample.errors or not sample.items:
            reason = "; ".join(sample.errors) or f"{sample.place} names no file and no text"
            left_out.append(Skipped(sample.place, reason))
        else:
            rows.append({**sample.items, "labels": read_labels(model, sample), "id": number})
    return FileDataset(rows, item_readers(model.preprocess), keep, left_out)


def read_labels(model: MultimodalModel, sample: Sample) -> int | float | list[float]:
    """The labels of a row as the head takes them.

    Raises:
        ValueError: none, or labels that the head does not know.
    """
    written = sample.labels
    if written is None:
        raise ValueError(f"{sample.place} has no labels; evaluation needs them in every row")
    if isinstance(model.head, Classification):
        names = class_names(model)
        if written in names:  # names first: a class may be called "1"
            return names.index(written)
        if written.isdecimal() and int(written) < len(names):
            return int(written)
        raise ValueError(
            f"{sample.place} has the label {written!r}; the model knows {', '.join(names)}, or their numbers "
            f"0 to {len(names) - 1}"
        )
    if not isinstance(model.head, Regression):
        raise ValueError(
            f"the head is {type(model.head).__name__}; a CSV holds labels for Classification and Regression"
        )
    count = model.head.num_targets
    try:
        numbers = [float(word) for word in written.split()]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise ValueError(f"{sample.place} has the labels {written!r}; the head takes {count} numbers")
    return numbers[0] if count == 1 else numbers
