"""One training on the CPU, by four loops: a bare one, ours, Lightning's and transformers'.

Each is given the same model, rows, batches and settings.
"""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from greenlet import getcurrent
from torch import nn
from torch.utils.data import DataLoader, Dataset

from mmbook import Trainer, collate
from mmbook.train import Callback

Loop = Callable[[nn.Module, Dataset, int, float, str, "Clock"], None]


class Clock:
    """Seconds of each step of a loop; after each, another loop has its turn."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.since = time.perf_counter()

    def tick(self) -> None:
        self.seconds.append(time.perf_counter() - self.since)
        getcurrent().parent.switch()
        self.since = time.perf_counter()


def factor(steps: int) -> Callable[[int], float]:
    """Warm-up over a tenth of the steps, then a cosine, as our trainer's default."""
    rise = int(0.1 * steps)

    def share(step: int) -> float:
        done = (step - rise) / max(1, steps - rise)
        return (step + 1) / (rise + 1) if step < rise else 0.5 * (1 + math.cos(math.pi * done))

    return share


def groups(model: nn.Module) -> list[dict[str, Any]]:
    """Only matrices decay, as in our trainer and transformers'."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": 0.01},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]


def batches(rows: Dataset, size: int) -> DataLoader:
    generator = torch.Generator().manual_seed(0)
    return DataLoader(rows, size, shuffle=True, collate_fn=collate, generator=generator)


def bare(
    model: nn.Module,
    rows: Dataset,
    size: int,
    lr: float,
    precision: str,
    clock: Clock,
    fused: bool | None = True,
) -> None:
    """The loop of a tutorial: forward, backward, clip, step."""
    model.train()
    optimizer = torch.optim.AdamW(groups(model), lr, fused=fused)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor(-(-len(rows) // size)))  # type: ignore[arg-type]
    for batch in batches(rows, size):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        loss.item()  # to print it
        clock.tick()


def plain(model: nn.Module, rows: Dataset, size: int, lr: float, precision: str, clock: Clock) -> None:
    """The same with AdamW as it comes, not fused."""
    bare(model, rows, size, lr, precision, clock, fused=None)


class _Ticks(Callback):
    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_step(self, trainer: Trainer, values: Any) -> None:
        self.clock.tick()


def ours(model: nn.Module, rows: Dataset, size: int, lr: float, precision: str, clock: Clock) -> None:
    Trainer(
        model,
        rows,
        epochs=1,
        batch_size=size,
        lr=lr,
        seed=0,
        precision=precision,
        device="cpu",
        progress=False,
        callbacks=[_Ticks(clock)],
    ).fit()


def lightning(model: nn.Module, rows: Dataset, size: int, lr: float, precision: str, clock: Clock) -> None:
    import lightning as L

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def training_step(self, batch: Any) -> Any:
            return self.model(**batch).loss

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(groups(model), lr, fused=True)
            course = torch.optim.lr_scheduler.LambdaLR(optimizer, factor(-(-len(rows) // size)))  # type: ignore[arg-type]
            return [optimizer], [{"scheduler": course, "interval": "step"}]

        def configure_gradient_clipping(self, *args: Any, **kwargs: Any) -> None:
            # by torch's function: Lightning's own refuses a fused optimiser in mixed precision
            torch.nn.utils.clip_grad_norm_(self.parameters(), 1.0)

        def on_train_batch_end(self, *args: Any) -> None:
            clock.tick()

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = L.Trainer(
            max_epochs=1,
            accelerator="cpu",
            devices=1,
            precision="bf16-mixed" if precision == "bf16" else "32-true",
            gradient_clip_val=1.0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Module(), batches(rows, size))


def transformers(model: nn.Module, rows: Dataset, size: int, lr: float, precision: str, clock: Clock) -> None:
    import tempfile

    import transformers

    class Ticks(transformers.TrainerCallback):
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            clock.tick()

    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            folder,
            num_train_epochs=1,
            per_device_train_batch_size=size,
            learning_rate=lr,
            lr_scheduler_type="cosine",
            warmup_steps=int(0.1 * -(-len(rows) // size)),  # type: ignore[arg-type]
            weight_decay=0.01,
            max_grad_norm=1.0,
            optim="adamw_torch_fused",
            bf16=precision == "bf16",
            use_cpu=True,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
        )
        trainer = transformers.Trainer(
            model, arguments, train_dataset=rows, data_collator=collate, callbacks=[Ticks()]
        )
        trainer.train()


LOOPS: dict[str, Loop] = {
    "ours": ours,
    "bare loop": bare,
    "bare loop, AdamW not fused": plain,
    "Lightning": lightning,
    "transformers.Trainer": transformers,
}
