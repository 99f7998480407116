"""What each fusion costs: time and memory of a training step against the number of tokens and modalities."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.memory import peak_mb
from benchmarks.paired import seconds
from mmbook import Modality
from mmbook.fusion import FUSIONS, TensorFusion, build_fusion

TOKENS = (64, 128, 256, 512, 1024, 2048, 4096)  # of each of three modalities
MODALITIES = (2, 3, 4, 5, 6)  # of 256 tokens each
BATCH, DIM, OUT = 2, 32, 64
UPPER = 4  # the exponent is the slope over so many of the largest sizes
MOST_SECONDS, MOST_MB = 20.0, 6000.0  # a step that is predicted to need more is not run, and the row says so
BUDGET = 0.25  # seconds of repeats a size

ATTENTION = {"inner_width": 32, "heads": 2, "layers": 1}
OPTIONS: dict[str, dict[str, Any]] = {name: {} for name in FUSIONS}
OPTIONS |= {"self_attention": ATTENTION, "cross_attention": ATTENTION, "tensor": {"inner_width": 4}}
OPTIONS |= {"bottleneck": ATTENTION | {"layers": 2}}
WIDE = 32  # the width of tensor fusion that is predicted
Row = dict[str, object]


def main() -> list[Row]:
    """A row for each method, precision and size; the two exponents belong to the whole series."""
    torch.manual_seed(0)
    rows = []
    for what, key, options in methods():
        for precision in ("float32", "bf16"):
            for along, sizes in (("tokens", TOKENS), ("modalities", MODALITIES)):
                rows += series(what, key, options, precision, along, sizes)
    return rows + wide_tensors()


def methods() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Name in the table, key of FUSIONS, options."""
    for key, options in OPTIONS.items():
        yield key, key, options
        if key == "bottleneck":
            yield "bottleneck, sees modality", key, options | {"sees": "modality"}


def series(
    what: str, key: str, options: dict[str, Any], precision: str, along: str, sizes: tuple[int, ...]
) -> list[Row]:
    """One method along one axis, until a step would cost too much."""
    rows: list[Row] = []
    ms: dict[int, float] = {}
    mb: dict[int, float] = {}
    for size in sizes:
        tokens, modalities = (size, 3) if along == "tokens" else (256, size)
        row: Row = {"method": what, "along": along, "precision": precision}
        row |= {"tokens": tokens, "modalities": modalities}
        time, memory = predicted(ms, size) / 1000, predicted(mb, size)
        if time > MOST_SECONDS or memory > MOST_MB:
            rows.append(row | {"note": f"not run: predicted {time:.0f} s and {memory:,.0f} MB a step"})
            continue
        ms[size], mb[size], parameters = measure(key, options, precision, tokens, modalities)
        rows.append(row | {"ms": ms[size], "mb": mb[size], "parameters": parameters, "note": ""})
    slopes = {"ms_exponent": exponent(ms), "mb_exponent": exponent(mb)}
    return [row | slopes for row in rows]


def measure(
    key: str, options: dict[str, Any], precision: str, tokens: int, modalities: int
) -> tuple[float, float, int]:
    """Median milliseconds and peak megabytes of a training step, and the number of parameters."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dims = {f"m{i}": DIM for i in range(modalities)}
    fusion = build_fusion(key, dims, OUT, **options).to(device).train()
    real = torch.ones(BATCH, tokens, dtype=torch.bool, device=device)
    inputs = {name: Modality(torch.randn(BATCH, tokens, DIM, device=device), real) for name in dims}

    def step() -> None:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16"):
            fused = fusion(inputs)
        fused.float().square().mean().backward()
        fusion.zero_grad()  # last, so that a step begins and ends with the same memory

    step()
    first = seconds(step)
    times = [first, *(seconds(step) for _ in range(min(14, int(BUDGET / first))))]
    return 1000 * median(times), peak_mb(step), sum(p.numel() for p in fusion.parameters())


def predicted(found: dict[int, float], size: int) -> float:
    """What the slope of the last two sizes says about the next one; 0 where there are not two."""
    if len(found) < 2:
        return 0.0
    (a, first), (b, last) = list(found.items())[-2:]
    slope = max(0.0, np.log(last / first) / np.log(b / a))
    return last * (size / b) ** slope


def exponent(found: dict[int, float]) -> float:
    """The slope of log cost against log size over the upper sizes, by least squares."""
    sizes, costs = np.array(list(found.items())[-UPPER:]).T
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def wide_tensors() -> list[Row]:
    """Tensor fusion at a common width: its size is predicted for all, and beyond three modalities not run."""
    rows: list[Row] = []
    for modalities in MODALITIES:
        size = TensorFusion.parameters_of_layer(modalities, WIDE, OUT)
        row: Row = {"method": f"tensor, inner_width {WIDE}", "along": "modalities", "precision": "float32"}
        row |= {"tokens": 256, "modalities": modalities, "parameters": size}
        if modalities <= 3:
            ms, mb, total = measure("tensor", {"inner_width": WIDE}, "float32", 256, modalities)
            rows.append(row | {"ms": ms, "mb": mb, "parameters": total, "note": ""})
            continue
        try:
            build_fusion("tensor", {f"m{i}": DIM for i in range(modalities)}, OUT, inner_width=WIDE)
            why = "not run"
        except ValueError:
            why = "out of memory, refused"
        rows.append(row | {"note": f"{why}: layer of {size:,} parameters, {size * 4 / 1e9:,.1f} GB"})
    return rows
