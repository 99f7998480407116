"""From a model to a program: torch.export, with as many axes free as the encoders allow."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import traceback
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from mmbook.app.export.checks import ExportError, Run, first_line, largest_difference, trials
from mmbook.app.export.flat import Flat, single, whole

if TYPE_CHECKING:
    from torch.export import ExportedProgram


class Traced(NamedTuple):
    """A program and its axes.

    Attributes:
        program: takes the flat batch by name.
        fixed: modality -> the only length T that it takes; samples are padded to that.
        longest: modality -> largest T, None for no limit; for those that are not fixed.
    """

    program: ExportedProgram
    fixed: dict[str, int]
    longest: dict[str, int | None]


def trace(model: Any, example: Mapping[str, Tensor]) -> Traced:
    """Export a `MultimodalModel` in evaluation mode, on the CPU.

    First with all axes of time free. Where that fails, each encoder is tried alone, and those that cannot
    take another length get the length of `example`.

    Raises:
        ExportError: a part that cannot be exported, named, with the reason and the line of code.
    """
    try:
        return _attempt(whole(model, list(example)), example, {})
    except ExportError as error:
        fixed = {
            name: example[name].shape[1]
            for name, encoder in model.encoders.items()
            if not _takes_other_lengths(encoder, name, example)
        }
        if not fixed:  # then no encoder is to blame
            raise _blame_the_rest(model, error) from error
    try:
        return _attempt(whole(model, list(example)), example, fixed)
    except ExportError as error:
        raise _blame_the_rest(model, error) from error


def runnable(program: ExportedProgram) -> Run:
    """The program as a function of a flat batch.

    torch writes down what it took for granted while tracing, and refuses batches that differ. Most of that is
    about the layout of memory (a batch of one counts as laid out in two ways at once) and not about results,
    and so it refuses far too much. Those checks are left out; whether the results are right is found by
    comparison with the model.
    """
    module: Any = program.module(check_guards=False)
    return lambda batch: module(**batch)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what torch warns of and prints, whole graphs at times: what matters is in its exception."""
    level = logging.root.manager.disable
    logging.disable(max(level, logging.WARNING))
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _takes_other_lengths(encoder: Any, name: str, example: Mapping[str, Tensor]) -> bool:
    part = single(encoder, name)
    inputs = {key: example[key] for key in (name, f"{name}_mask")}
    try:
        _attempt(part, inputs, {})
    except ExportError:
        try:
            _attempt(part, inputs, {name: example[name].shape[1]})
        except ExportError as error:
            kind = type(encoder).__name__
            raise ExportError(f"the encoder of {name!r}, {kind}, cannot be exported: {error}") from error
        return False
    return True


def _blame_the_rest(model: Any, error: ExportError) -> ExportError:
    kinds = type(model.fusion).__name__, type(model.head).__name__
    return ExportError(
        f"the fusion, {kinds[0]}, or the head, {kinds[1]}, cannot be exported (each encoder alone can): "
        f"{error}"
    )


def _attempt(part: Flat, example: Mapping[str, Tensor], fixed: Mapping[str, int]) -> Traced:
    """Export, and compare on batches of other sizes; ExportError where either fails."""
    from torch.export import Dim, export
    from torch.fx.experimental import _config as symbolic

    settings: Any = symbolic.patch  # type: ignore[attr-defined]  # torch puts it there when it is imported
    names = [name for name in example if f"{name}_mask" in example]
    axes: dict[str, dict[int, Any]] = {}
    for name in names:
        free = {0: Dim.DYNAMIC} if name in fixed else {0: Dim.DYNAMIC, 1: Dim.DYNAMIC}
        axes |= {name: free, f"{name}_mask": free}
    try:
        # "oblivious": a batch of one, or a picture of one frame, is no case of its own
        with torch.no_grad(), settings(backed_size_oblivious=True), quiet():
            program = export(part, (), dict(example), dynamic_shapes=axes)
    except Exception as error:  # torch.export has no common type for what it cannot trace
        raise ExportError(f"{first_line(error)}{_where(error)}") from error
    longest = {name: _longest(program, name) for name in names if name not in fixed}
    batches = trials(example, fixed, longest)
    largest_difference(lambda batch: part(**batch), runnable(program), batches, "the exported program")
    return Traced(program, dict(fixed), longest)


def _where(error: BaseException) -> str:
    """The innermost line of code outside of torch, such as ``" (vit.py:109: x = ...)"``."""
    torch_folder = str(Path(inspect.getfile(nn)).parents[1])
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((torch_folder, str(Path(__file__).parent), "<"))
    ]
    if not frames:
        return ""
    last = frames[-1]
    return f" ({Path(last.filename).name}:{last.lineno}: {last.line})"


def _longest(program: ExportedProgram, name: str) -> int | None:
    node = next(node for node in program.graph.nodes if node.op == "placeholder" and node.name == name)
    limit: Any = program.range_constraints[node.meta["val"].shape[1].node.expr].upper
    return int(limit) if limit.is_Integer else None
