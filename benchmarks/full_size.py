"""The full-size model (BERT-base, ResNet-50, wav2vec 2.0 base) on a GPU: speed, share of the peak, memory.

Without a GPU there is nothing to measure, and the table stays as it is. The weights are random: they cost as
much as any.
"""

from __future__ import annotations

import gc
import os
import time
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset
from torch.utils.flop_counter import FlopCounterMode

from mmbook import MultimodalModel, Trainer, collate
from mmbook.encoders import Bert, ResNet, Wav2Vec2
from mmbook.fusion import build_fusion
from mmbook.heads import Classification
from mmbook.train import Callback

BATCH, STEPS, WARM = 64, 30, 10
TOKENS, PIXELS, SECONDS = 64, 224, 4
# Dense bf16 peak, in FLOP/s, of the makers' data sheets for H100 SXM and H200, which are alike in this.
PEAK = 989e12


class Samples(Dataset):
    """Random texts, pictures and sounds; a few, again and again, so that reading them costs nothing."""

    def __init__(self, count: int) -> None:
        self.count = count
        generator = torch.Generator().manual_seed(0)
        self.text = torch.randint(1, 30000, (16, TOKENS), generator=generator)
        self.image = torch.randn(16, 1, 3, PIXELS, PIXELS, generator=generator)
        self.audio = torch.randn(16, SECONDS * 16000, generator=generator)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> dict[str, Any]:
        k = i % 16
        row = {"text": self.text[k], "image": self.image[k], "audio": self.audio[k]}
        return row | {"labels": torch.tensor(k % 3), "id": i}


class Clock(Callback):
    """When each step after the warm-up ended."""

    def __init__(self) -> None:
        self.steps, self.start = 0, 0.0

    def on_step(self, trainer: Trainer, values: Any) -> None:
        self.steps += 1
        if self.steps == WARM:
            torch.cuda.synchronize()
            self.start = time.perf_counter()


def network() -> nn.Module:
    """293 million parameters or so: the three encoders, a concatenation, a linear head."""
    torch.manual_seed(0)
    encoders = {
        "text": Bert(width=768, layers=12, hidden=3072),
        "image": ResNet((3, 4, 6, 3), "bottleneck"),
        "audio": Wav2Vec2(),
    }
    fusion = build_fusion("concat", {name: encoder.out_dim for name, encoder in encoders.items()}, 512)
    return MultimodalModel(encoders, fusion, Classification(512, 3))


def flops() -> float:
    """Floating-point operations of one training step, counted on one sample and multiplied."""
    model, rows = network().cuda(), Samples(1)
    batch = {key: value.cuda() for key, value in collate([rows[0], rows[0]]).items()}
    with FlopCounterMode(display=False) as counter:
        model(**batch).loss.backward()
    return counter.get_total_flops() / 2 * BATCH


WAYS: tuple[tuple[str, dict[str, bool]], ...] = (
    ("bf16", {}),
    ("bf16", {"compile": True}),
    ("no", {}),
    ("bf16", {"channels_last": True}),
    ("bf16", {"compile": True, "channels_last": True}),
)


def main(rows: list[dict[str, object]] | None = None) -> list[dict[str, object]]:
    """A row for each way to train, added to `rows` as soon as it is measured."""
    if not torch.cuda.is_available():
        raise SystemExit("full_size needs a GPU; there is none here, and the table stays as it is")
    rows = [] if rows is None else rows
    work = flops()
    for precision, options in WAYS:
        gc.collect()  # a trainer and its model hold each other; else the next peak would count both
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        model, clock = network(), Clock()
        trainer = Trainer(
            model,
            Samples(BATCH * STEPS),
            epochs=1,
            batch_size=BATCH,
            lr=1e-4,
            seed=0,
            precision=precision,
            workers=min(8, os.cpu_count() or 1),
            callbacks=[clock],
            progress=False,
            **options,
        )
        start = time.perf_counter()
        trainer.fit()
        torch.cuda.synchronize()
        end = time.perf_counter()
        step = (end - clock.start) / (STEPS - WARM)
        rows.append(
            {
                "precision": "float32" if precision == "no" else precision,
                "compile": "compile" in options,
                "channels_last": "channels_last" in options,
                "samples_per_second": BATCH / step,
                "step_ms": 1000 * step,
                "tflops_per_second": work / step / 1e12,
                "mfu": work / step / PEAK if precision == "bf16" else float("nan"),
                "peak_gb": torch.cuda.max_memory_allocated() / 1e9,
                "warm_up_seconds": clock.start - start,
                "last_loss": float(trainer.curve.loss.iloc[-1]),
                "batch_size": BATCH,
                "parameters": sum(p.numel() for p in model.parameters()),
                "step_tflop": work / 1e12,
            }
        )
        print(rows[-1], flush=True)
        del trainer, model
    return rows
