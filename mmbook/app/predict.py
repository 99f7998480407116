"""`mmbook predict`: a table with a row for each sample, whatever happened to it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from mmbook.answers import answers as answers_over
from mmbook.app.config_data import class_names, processors_of
from mmbook.app.run_folder import check_out
from mmbook.data import FilesSkipped, Folder, open_files
from mmbook.data.files import read_items
from mmbook.data.kinds import Processor, file_reader, kinds_of
from mmbook.data.tables import Sample
from mmbook.heads import Classification, Regression
from mmbook.modality import Modality, collate
from mmbook.models import MultimodalModel

if TYPE_CHECKING:
    import pandas as pd


def answer_columns(model: MultimodalModel) -> list[str]:
    """The names of the columns, known before the first sample is.

    Raises:
        ValueError: a head whose answers have no columns of this kind.
    """
    if isinstance(model.head, Classification):
        columns = ["label", *(f"p_{name}" for name in class_names(model))]
    elif isinstance(model.head, Regression):
        count = model.head.num_targets
        columns = ["value"] if count == 1 else [f"value_{k}" for k in range(count)]
    else:
        raise ValueError(
            f"the head is {type(model.head).__name__}; tables are made for Classification and Regression"
        )
    return columns + [f"weight_{name}" for name in model.encoders if _gives_weights(model)]


def answers(model: MultimodalModel, rows: Sequence[Mapping[str, Tensor]]) -> list[dict[str, Any]]:
    """A dict of `answer_columns` for each of `rows` ``{name: Tensor}``, which make one batch."""
    if not rows:
        return []
    (output,) = answers_over(model, [collate(rows)], lambda output, batch: output)
    columns: list[list[Any]] = []
    if isinstance(model.head, Classification):
        probabilities = output.logits.float().softmax(dim=-1)  # (B, classes)
        names = class_names(model)
        columns.append([names[k] for k in probabilities.argmax(dim=-1).tolist()])
        columns += probabilities.T.tolist()
    else:
        columns += output.logits.float().T.tolist()
    if output.attentions:
        columns += [output.attentions[name].float().sum(dim=1).tolist() for name in model.encoders]
    names = answer_columns(model)
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def read_sample(sample: Sample, readers: Mapping[str, Processor]) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of a sample, and what is wrong with it: nothing, if the list is empty."""
    if not sample.items:
        return {}, [*sample.errors] or [f"nothing to read: each of {', '.join(readers)} is missing"]
    row, bad = read_items(sample.items, readers)
    return row, [*sample.errors, *(reason for _, reason in bad)]


@torch.no_grad()
def _gives_weights(model: MultimodalModel) -> bool:
    """Whether the fusion has weights, asked of the fusion itself."""
    dims: Any = model.fusion.dims
    device = next(model.parameters()).device
    real = torch.ones(1, 1, dtype=torch.bool, device=device)
    nothing = {name: Modality(torch.zeros(1, 1, dim, device=device), real) for name, dim in dims.items()}
    return bool(model.fusion(nothing, return_weights=True)[1])


class Written(NamedTuple):
    """What `predict_to_csv` did.

    Attributes:
        file: where the table is.
        rows: how many samples there were.
        failed: how many of them could not be read.
        errors: the first few, as ``(id, error)``.
    """

    file: Path
    rows: int
    failed: int
    errors: list[tuple[str, str]]


def predict_files(
    model: MultimodalModel | str | Path, source: str | Path, batch_size: int = 32
) -> pd.DataFrame:
    """What a model says about files.

    A sample of which any file is bad is not predicted: an answer from the rest would look like the others.
    Its row stays, with the reason under "error". At the end a warning counts such rows. A modality that is
    not given is missing, which is no fault.

    Args:
        model: with processors; or the folder where it was saved.
        source: a CSV with columns named by the model's modalities (paths relative to the CSV, or the text
            itself) and perhaps id and labels; or a folder, where files of one name and different extensions
            are one sample.
        batch_size: samples in memory at a time.

    Returns:
        One row a sample, in order: "id"; for classes "label" and a column ``p_<class>`` of probabilities, for
        regression "value", or "value_0", "value_1", ...; ``weight_<modality>``, the total attention, where
        the fusion has weights; "error", empty where all went well.

    Raises:
        FileNotFoundError: nothing at `source`.
        ValueError: an unknown column, no file that the model reads, a model without processors or with a head
            of another kind.
    """
    import pandas as pd

    tables = list(_tables(model, source, batch_size))
    table = pd.concat(tables, ignore_index=True)
    failed = table[table["error"] != ""]
    _warn(len(table), len(failed), [(str(i), str(e)) for i, e in failed[["id", "error"]].head(1).values])
    return table


def predict_to_csv(
    model: MultimodalModel | str | Path, source: str | Path, file: str | Path, batch_size: int = 32
) -> Written:
    """`predict_files` straight into a CSV, batch by batch, so that memory does not grow with the rows.

    The file appears when it is complete; until then, and after an interruption, an older one stays.

    Args:
        file: to write, and not `source` itself; its folder is made if need be.
        model, source, batch_size: as in `predict_files`, and so are the columns and the errors raised.
    """
    file = Path(file)
    check_out(file, source)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    rows, failed = 0, 0
    errors: list[tuple[str, str]] = []
    try:
        with part.open("w", encoding="utf-8", newline="") as out:
            for table in _tables(model, source, batch_size):
                table.to_csv(out, index=False, header=rows == 0)
                bad = table[table["error"] != ""]
                rows, failed = rows + len(table), failed + len(bad)
                errors += [(str(i), str(e)) for i, e in bad[["id", "error"]].values][: 5 - len(errors)]
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
    _warn(rows, failed, errors)
    return Written(file, rows, failed, errors)


def _warn(rows: int, failed: int, errors: list[tuple[str, str]]) -> None:
    if failed:
        warnings.warn(
            f"{failed} of {rows} samples were not predicted, such as {errors[0][0]!r}: {errors[0][1]}",
            FilesSkipped,
            stacklevel=3,
        )


def _tables(
    model: MultimodalModel | str | Path, source: str | Path, batch_size: int
) -> Iterator[pd.DataFrame]:
    """The table, a batch at a time."""
    import pandas as pd

    if not isinstance(model, MultimodalModel):
        model = MultimodalModel.from_pretrained(str(model))
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    columns = ["id", *answer_columns(model), "error"]
    listed, kinds = open_files(source), kinds_of(processors_of(model))
    samples: Iterable[Sample]
    if isinstance(listed, Folder):
        samples = found = listed.samples(kinds)
        count = len(found)
        if ignored := listed.ignored(kinds):
            warnings.warn(
                f"{len(ignored)} files of {source} are of a kind that the model does not read, such as "
                f"{ignored[0].name}",
                FilesSkipped,
                stacklevel=4,
            )
    else:
        samples, count = listed.samples(kinds), len(listed)  # read as they come
    if not count:
        raise ValueError(f"{source} has no rows below its header")
    readers = {name: file_reader(processor) for name, processor in model.preprocess.items()}
    with tqdm(total=count, unit="row", disable=None, leave=False) as bar:
        coming = iter(samples)
        while batch := list(islice(coming, batch_size)):
            read = [read_sample(sample, readers) for sample in batch]
            predicted = iter(answers(model, [row for row, errors in read if not errors]))
            rows = [
                {"id": sample.id, "error": "; ".join(errors)} | ({} if errors else next(predicted))
                for sample, (_, errors) in zip(batch, read, strict=True)
            ]
            yield pd.DataFrame(rows, columns=columns)
            bar.update(len(batch))
