"""Does an exported program say what the model says, also on batches of other sizes?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from mmbook.app.export.flat import fresh_batch

RTOL, ATOL = 1e-4, 1e-5

Run = Callable[[Mapping[str, Tensor]], Any]


class ExportError(RuntimeError):
    """A model cannot be exported, or what was exported does not equal it; the message says which part."""


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
