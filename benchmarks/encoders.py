"""Encoders beside transformers, torchvision and torch.nn: time and memory, forward and in a training step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks import audio_pairs, image_pairs, text_pairs, video_pairs
from benchmarks.memory import peak_mb
from benchmarks.pair import Pair
from benchmarks.paired import paired, seconds

REPEATS = 15
SECONDS = 8.0  # the repeats of a slow pair are fewer, but at least five
Row = dict[str, object]


def main() -> list[Row]:
    """Two rows for each pair. `per_second`: samples, or seconds of sound, of ours."""
    torch.manual_seed(0)
    return [
        row
        for module in (text_pairs, image_pairs, audio_pairs, video_pairs)
        for pair in module.pairs()
        for row in rows(pair)
    ]


def rows(pair: Pair) -> Iterator[Row]:
    """A forward pass and a training step: beside the reference, or alone where there is none."""
    for step in (forward, training_step):
        ours = step(pair.ours, pair.run)
        row: Row = {"what": pair.what, "step": step.__name__.replace("_", " ")}
        if pair.theirs is None or pair.reference is None:
            ours()
            row["ours_ms"] = 1000 * median(seconds(ours) for _ in range(REPEATS))
            row["ours_mb"] = peak_mb(ours)
        else:
            theirs = step(pair.theirs, pair.reference)
            ours(), theirs()
            repeats = int(SECONDS / (seconds(ours) + seconds(theirs)))
            row |= paired(ours, theirs, min(REPEATS, max(5, repeats)))
            mb, reference_mb = peak_mb(ours), peak_mb(theirs)
            row |= {"memory_ratio": mb / reference_mb, "ours_mb": mb, "reference_mb": reference_mb}
        yield row | {"per_second": 1000 * pair.amount / float(str(row["ours_ms"]))}


def forward(module: nn.Module, run: Callable[[], Tensor]) -> Callable[[], None]:
    """In evaluation, without gradients."""

    def step() -> None:
        module.eval()
        with torch.no_grad():
            run()

    return step


def training_step(module: nn.Module, run: Callable[[], Tensor]) -> Callable[[], None]:
    """In training, with a backward pass."""

    def step() -> None:
        module.train()
        module.zero_grad()
        run().square().mean().backward()

    return step
