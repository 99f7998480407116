"""The files: written from a program, read back, and compared with the model before they get their place."""

from __future__ import annotations

import copy
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from mmbook.app.export.program import (
    ExportError,
    Run,
    Traced,
    complete_batch,
    largest_difference,
    quiet,
    runnable,
    trace,
    trials,
)
from mmbook.app.predict import read_sample
from mmbook.app.run_folder import run_config
from mmbook.data import open_files
from mmbook.data.kinds import file_reader, kinds_of
from mmbook.modality import collate
from mmbook.models import MultimodalModel

DESCRIPTION = "model.json"
OLDEST_TORCH = (2, 9)  # the first that exports without taking a batch of one for a case of its own
ONNX_LIMIT = 2_000_000_000  # bytes in one file, set by protobuf


class TorchFormat:
    """A ``torch.export`` program; needs torch and nothing else."""

    file = "model.pt2"
    load = "torch.export.load(file).module(check_guards=False)"

    def write(self, traced: Traced, example: Mapping[str, Tensor], path: Path) -> None:
        from torch.export import save

        save(traced.program, path)

    def read(self, path: Path) -> Run:
        from torch.export import load

        with quiet():
            return runnable(load(path))


class OnnxFormat:
    """ONNX; runs under onnxruntime, in many languages and without torch."""

    file = "model.onnx"
    load = "onnxruntime.InferenceSession(file)"

    def __init__(self) -> None:
        try:
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise ImportError(
                f'export to ONNX needs {error.name}, which is not installed: pip install "mmbook[train]", or '
                f'take formats=("torch",)'
            ) from error

    def write(self, traced: Traced, example: Mapping[str, Tensor], path: Path) -> None:
        size = sum(value.nbytes for value in traced.program.state_dict.values())
        if size > ONNX_LIMIT:
            raise ExportError(
                f"the weights take {size / 1e9:.1f} GB, and an ONNX file holds {ONNX_LIMIT / 1e9:.0f}; take "
                f'formats=("torch",)'
            )
        names = {key: dict(enumerate(axis_names(key, traced))) for key in example}
        with quiet():
            converted: Any = torch.onnx.export(
                traced.program,
                (),
                kwargs=dict(example),
                input_names=list(example),
                output_names=["logits"],
                dynamic_shapes={key: {i: a for i, a in axes.items() if a} for key, axes in names.items()},
                dynamo=True,
                verbose=False,
            )
        converted.save(path, external_data=False)

    def read(self, path: Path) -> Run:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()  # as the model it is compared with
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda batch: torch.from_numpy(
            session.run(["logits"], {key: value.numpy() for key, value in batch.items()})[0]
        )


FORMATS: dict[str, Callable[[], OnnxFormat | TorchFormat]] = {"onnx": OnnxFormat, "torch": TorchFormat}


def axis_names(key: str, traced: Traced) -> tuple[str | None, str | None]:
    """Names of the first two axes of an input, None where an axis is fixed."""
    names = [name for name in (*traced.fixed, *traced.longest) if key in (name, f"{name}_mask")]
    return "batch", None if names[0] in traced.fixed else f"{names[0]}_length"


def export_model(
    model: MultimodalModel,
    folder: str | Path,
    batch: Mapping[str, Any],
    formats: Sequence[str] = ("onnx", "torch"),
    runs: int = 20,
) -> list[dict[str, Any]]:
    """Write a model as files that run without mmbook, and compare them with it.

    Inputs are the flat batch by name, ``text``, ``text_mask``, ``image``, ...; the output is ``logits``. The
    number of samples is free. So is the length of each modality, but for encoders that cannot be traced that
    way (recurrent ones are unrolled, step by step): there it is the length in `batch`, and shorter samples
    are padded to it. Each file is read back and run on fresh random batches: of one sample and of more, with
    other lengths, with padding, and with a sample that lacks a modality.

    Beside the files stands ``model.json``: inputs with types and axes, classes, what the processors were, and
    how to load. A failure leaves the folder as it was.

    Args:
        model: on any device, in any mode; it is not changed. What is exported is its evaluation mode on the
            CPU.
        folder: where ``model.onnx``, ``model.pt2`` and ``model.json`` go; made if need be.
        batch: an example, as `mmbook.collate` makes it; each modality must occur. Labels are not used.
        formats: keys of ``FORMATS``.
        runs: for the latency; the median of so many, model and files in turns, after a warm-up, with torch's
            number of threads.

    Returns:
        A row for each format: format, file, size_bytes, difference (largest absolute, to the model),
        latency_ms, model_ms, ratio (of the two), batch_size, threads, fixed (modality -> its only length).

    Raises:
        ExportError: a part of the model that cannot be exported (named, with the reason), or a file that
            does not equal the model.
        ImportError: "onnx" without its packages; names the extra.
        ValueError: an unknown format, none at all, or a modality that `batch` lacks.
    """
    writers = _writers(formats)
    if runs < 1:
        raise ValueError(f"runs is {runs}; the latency is a median of at least 1")
    example = complete_batch(batch, list(model.encoders))
    frozen = copy.deepcopy(model).cpu().eval()
    traced = trace(frozen, example)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        rows, exported = [], {}
        for name, writer in writers.items():
            path = Path(temporary) / writer.file
            writer.write(traced, example, path)
            exported[name] = writer.read(path)
            difference = largest_difference(
                lambda inputs: frozen(**inputs).logits,
                exported[name],
                trials(example, traced.fixed, traced.longest),
                f"the {name} file",
            )
            row = {"format": name, "file": str(folder / writer.file), "size_bytes": path.stat().st_size}
            rows.append(row | {"difference": difference})
        times = _latencies({"model": lambda inputs: frozen(**inputs).logits} | exported, example, runs)
        (Path(temporary) / DESCRIPTION).write_text(
            json.dumps(_description(frozen, traced, example, writers), indent=2) + "\n", encoding="utf-8"
        )
        for path in Path(temporary).iterdir():
            path.replace(folder / path.name)
    for row in rows:
        own = times[str(row["format"])]
        row |= {"latency_ms": own, "model_ms": times["model"], "ratio": own / times["model"]}
        row |= {"batch_size": _size(example), "threads": torch.get_num_threads(), "fixed": traced.fixed}
    return rows


def _writers(formats: Sequence[str]) -> dict[str, OnnxFormat | TorchFormat]:
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ValueError(f"formats are {tuple(formats)}; choose of {', '.join(FORMATS)}, at least one")
    found = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if found < OLDEST_TORCH:
        raise ExportError(f"export needs torch 2.9 or later; this is {torch.__version__}")
    return {name: FORMATS[name]() for name in formats}


@torch.no_grad()
def _latencies(
    functions: Mapping[str, Callable[[Any], Any]], example: Mapping[str, Tensor], runs: int
) -> dict[str, float]:
    """Median milliseconds of each; in turns, so that what else the machine does meets all of them alike."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for run in range(runs + 2):
        for name, function in functions.items():
            start = time.perf_counter()
            function(example)
            if run >= 2:  # the first two warm up
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: median(values) for name, values in times.items()}


def _description(
    model: MultimodalModel,
    traced: Traced,
    example: Mapping[str, Tensor],
    writers: Mapping[str, OnnxFormat | TorchFormat],
) -> dict[str, Any]:
    """What one has to know to use the files, in JSON."""
    config = model.to_config()
    with torch.no_grad():
        logits = model(**example).logits
    assert logits is not None
    inputs = {}
    for key, value in example.items():
        free = axis_names(key, traced)
        axes = [name or size for name, size in zip(free, value.shape, strict=False)]
        inputs[key] = {"dtype": _dtype(value), "axes": [*axes, *value.shape[2:]]}
    return {
        "inputs": inputs,
        "outputs": {"logits": {"dtype": _dtype(logits), "axes": ["batch", *logits.shape[1:]]}},
        "fixed_lengths": traced.fixed,
        "longest": {f"{name}_length": limit for name, limit in traced.longest.items()},
        "masks": "true where a value is real; padding stands at the end; a sample that lacks a modality has "
        "a row of false",
        "classes": config["classes"],
        "head": config["head"],
        "preprocess": config["preprocess"],
        "preprocess_in_words": {name: _about(processor) for name, processor in model.preprocess.items()},
        "load": {writer.file: writer.load for writer in writers.values()},
        "torch": torch.__version__,
    }


def _about(processor: Any) -> str:
    """The first sentence of its docstring, for those who will write it anew without mmbook."""
    return " ".join((type(processor).__doc__ or "").split("\n\n")[0].split()).replace("``", "")


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _size(example: Mapping[str, Tensor]) -> int:
    return len(next(iter(example.values())))


def example_batch(
    model: MultimodalModel, folder: Path, source: Path | None = None, size: int = 4
) -> dict[str, Tensor]:
    """The first `size` samples that can be read and lack nothing.

    Args:
        model: with processors.
        folder: where it is saved.
        source: a CSV or a folder of files; None for the table that ``run.yaml`` beside the model names.

    Raises:
        ValueError: there are none.
    """
    if source is None:
        named = run_config(folder).get("data", {}).get("train", "")
        if not named.endswith(".csv"):
            raise ValueError(f"{folder} does not say which CSV it was trained on; give --data DATA.csv")
        source = folder / named
    rows: list[dict[str, Tensor]] = []
    readers = {name: file_reader(processor) for name, processor in model.preprocess.items()}
    for sample in open_files(source).samples(kinds_of(model.preprocess)):
        row, errors = read_sample(sample, readers)
        if not errors and set(row) == set(model.encoders):
            rows.append(row)
        if len(rows) >= size:
            return collate(rows[:size])
    if not rows:
        raise ValueError(
            f"no sample of {source} can be read and has all of {', '.join(model.encoders)}; give others by "
            f"--data"
        )
    return collate(rows)
