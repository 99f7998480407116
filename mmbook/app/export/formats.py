"""The two kinds of file: written from a program, and read back as a function of a flat batch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmbook.app.export.checks import ExportError, Run
from mmbook.app.export.trace import Traced, quiet, runnable

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


def axis_names(key: str, traced: Traced) -> tuple[str | None, str | None]:
    """Names of the first two axes of an input, None where an axis is fixed."""
    names = [name for name in (*traced.fixed, *traced.longest) if key in (name, f"{name}_mask")]
    return "batch", None if names[0] in traced.fixed else f"{names[0]}_length"
