"""From a model to a program: torch.export with as many axes free as the encoders allow, proven equal.

A program takes a flat batch of tensors by name and gives logits. It counts as equal when it says what the
model says on random batches of other sizes, with padding, and with samples that lack a modality.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from mmbook.modality import Modality, group

if TYPE_CHECKING:
    from torch.export import ExportedProgram

RTOL, ATOL = 1e-4, 1e-5

Run = Callable[[Mapping[str, Tensor]], Any]


class ExportError(RuntimeError):
    """A model cannot be exported, or what was exported does not equal it; the message says which part."""


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


class Flat(nn.Module):
    """A function of a flat batch as a module whose ``forward`` takes the inputs by their names.

    The names of the arguments become those of the exported file's inputs, so each instance has a signature of
    its own.

    Args:
        parts: the modules that `function` uses, so that their weights are exported.
        function: flat batch -> tensors.
        names: of the inputs, in order: ``["text", "text_mask", ...]``.
    """

    def __init__(self, parts: nn.Module, function: Callable[..., Any], names: Sequence[str]) -> None:
        super().__init__()
        self.parts = parts

        def forward(**batch: Tensor) -> Any:
            return function(**batch)

        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        forward.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [inspect.Parameter(name, kind) for name in names]
        )
        self.forward = forward


def whole(model: nn.Module, names: Sequence[str]) -> Flat:
    """The model, up to the logits."""
    return Flat(model, lambda **batch: model(**batch).logits, names)


def single(encoder: nn.Module, name: str) -> Flat:
    """One encoder alone: the mean of its tokens, and how many there are."""

    def tokens(**batch: Tensor) -> tuple[Tensor, Tensor]:
        encoded = encoder(group(batch, [name])[name])
        return encoded.pooled(), encoded.mask.sum(dim=1)

    return Flat(encoder, tokens, [name, f"{name}_mask"])


def complete_batch(batch: Mapping[str, Any], names: Sequence[str]) -> dict[str, Tensor]:
    """The batch with every modality of `names` and its mask, on the CPU, and nothing else.

    Raises:
        ValueError: a modality that the batch lacks, or of which no row has anything.
    """
    grouped = group(batch, names)
    for name in names:
        if name not in grouped or not grouped[name].mask.any():
            raise ValueError(
                f"the example batch has no {name!r}; it must hold each of {', '.join(names)} at least once, "
                f"since the exported file has an input for each"
            )
    flat: dict[str, Tensor] = {}
    for name, modality in grouped.items():
        values, mask = modality.cleaned()
        flat |= {name: values.cpu(), f"{name}_mask": mask.cpu()}
    return flat


def fresh_batch(
    example: Mapping[str, Tensor],
    size: int,
    lengths: Mapping[str, int],
    *,
    seed: int,
    padded: bool = False,
    missing: Sequence[str] = (),
) -> dict[str, Tensor]:
    """A random batch like `example`, of other sizes.

    Args:
        example: flat batch; ids are drawn from the range that it shows, floats with its mean and deviation.
        size: number of samples B.
        lengths: modality -> T.
        seed: of the random numbers.
        padded: give the samples random lengths from 1 to T.
        missing: modalities that the first sample lacks.
    """
    g = torch.Generator().manual_seed(seed)
    batch: dict[str, Tensor] = {}
    for name, length in lengths.items():
        values, mask = example[name], example[f"{name}_mask"]
        shape, real = (size, length, *values.shape[2:]), values[mask]
        if values.is_floating_point():
            drawn = (torch.randn(shape, generator=g) * real.std(correction=0) + real.mean()).to(values.dtype)
        else:
            drawn = torch.randint(int(real.min()), int(real.max()) + 1, shape, generator=g).to(values.dtype)
        steps = torch.randint(1, length + 1, (size, 1), generator=g) if padded else torch.tensor(length)
        keep = (torch.arange(length) < steps).expand(size, length).clone()
        if name in missing:
            keep[0] = False
        batch |= {name: Modality(drawn, keep).cleaned().values, f"{name}_mask": keep}
    return batch


def trials(
    example: Mapping[str, Tensor], fixed: Mapping[str, int], longest: Mapping[str, int | None]
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Fresh random batches, each with a name for messages: a single sample, more samples, other lengths,
    padding, and for each modality a sample that lacks it.

    Args:
        example: flat batch that the program was made from.
        fixed: modality -> the only T that the program takes.
        longest: modality -> largest T; None where there is no limit.
    """
    names = [name for name in example if f"{name}_mask" in example]
    given = {name: example[name].shape[1] for name in names}

    def lengths(scale: float) -> dict[str, int]:
        changed = {name: max(1, round(scale * n)) for name, n in given.items()}
        for name, limit in longest.items():
            changed[name] = changed[name] if limit is None else min(changed[name], limit)
        return changed | dict(fixed)

    size = len(example[names[0]])
    yield "of one sample", fresh_batch(example, 1, lengths(1), seed=0)
    yield "of one step", fresh_batch(example, 1, lengths(0), seed=1)
    yield "with padding", fresh_batch(example, size + 1, lengths(1.4), seed=2, padded=True)
    yield "of shorter samples", fresh_batch(example, size + 2, lengths(0.6), seed=3, padded=True)
    for i, name in enumerate(names):
        missing = fresh_batch(example, 3, lengths(1), seed=4 + i, padded=True, missing=[name])
        yield f"with a sample without {name!r}", missing


@torch.no_grad()
def largest_difference(
    eager: Run, exported: Run, batches: Iterator[tuple[str, dict[str, Tensor]]], what: str
) -> float:
    """Run both on every batch; returns the largest absolute difference.

    Args:
        eager, exported: flat batch -> a tensor, or several.
        batches: with their names, as `trials` gives them.
        what: the program's name, for messages.

    Raises:
        ExportError: the program fails on one of the batches, or differs from `eager` by more than 1e-4
            relative plus 1e-5 absolute.
    """
    largest = 0.0
    for label, batch in batches:
        expected = eager(batch)
        try:
            found = exported(batch)
        except Exception as error:  # whatever the runtime throws, it is this batch that the program cannot do
            raise ExportError(f"{what} fails on a batch {label}: {first_line(error)}") from error
        for ours, theirs in zip(_tensors(expected), _tensors(found), strict=True):
            if ours.shape != theirs.shape:
                raise ExportError(
                    f"{what} gives {tuple(theirs.shape)} on a batch {label}, the model {tuple(ours.shape)}"
                )
            difference = (ours - theirs).abs().max().item()
            if not torch.allclose(theirs, ours, rtol=RTOL, atol=ATOL):
                raise ExportError(
                    f"{what} differs from the model by {difference:.3g} on a batch {label}; allowed are "
                    f"{RTOL:g} relative plus {ATOL:g} absolute. Nothing was written"
                )
            largest = max(largest, difference)
    return largest


def first_line(error: BaseException) -> str:
    """Type and first line of an exception, or the first point of its list: torch's own go on for pages."""
    lines = str(error).strip().splitlines() or ["no message"]
    points = [line.strip(" -") for line in lines if line.startswith("  - ")]
    return f"{type(error).__name__}: {(points or lines)[0]}"


def _tensors(found: Any) -> tuple[Tensor, ...]:
    return (found,) if isinstance(found, Tensor) else tuple(found)
