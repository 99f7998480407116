"""What a training run is told: every option of the trainer, its meaning, and what it may be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from mmbook.train.optimizer import OPTIMIZERS

SCHEDULES = ("constant", "cosine", "linear")
PRECISIONS = ("no", "bf16", "fp16")
LOGS = ("csv", "tensorboard")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Options of `mmbook.Trainer`, given to it as keywords.

    Attributes:
        epochs: passes over the training set.
        batch_size: samples of one optimiser step, over all processes and all parts of `accumulate`. So
            the same settings are the same training on one device and on eight.
        lr: peak learning rate.
        seed: decides the order of the samples and every random draw in training. The model comes with its
            initial weights, so seed before making it, too.
        optimizer: "adamw", "adam" or "sgd" (momentum 0.9).
        betas: shares of the running means of the gradient and of its square that Adam keeps a step.
        weight_decay: on matrices only.
        groups: start of a parameter's name -> its own options, such as
            {"encoders.text": {"lr": 1e-5, "weight_decay": 0.0}}; the longest start that fits counts.
        schedule: "cosine", "linear" or "constant", after `warmup`.
        warmup: share of all steps in which the learning rate rises, in [0, 1).
        clip: largest norm of the whole gradient; None for no clipping.
        precision: "no" (float32), "bf16" or "fp16".
        accumulate: work through each batch in this many parts, to save memory. The gradient is that of the
            whole batch, also where parts are unequal, and also for a contrastive loss.
        ema: share that a running average of the weights keeps a step, such as 0.999; None for no average.
            Evaluation uses the average, and the model holds it at the end.
        monitor: a key of `Trainer.evaluate` by which the best epoch is chosen.
        patience: stop when so many epochs in a row brought no better `monitor`; None never stops early.
        output_dir: where checkpoints, best weights and logs go; None keeps the best weights in memory.
        save_every: steps from one checkpoint to the next; None: one after each epoch.
        keep: how many of the newest checkpoints stay.
        keep_best: how many of the best epochs' weights stay, as safetensors.
        resume: go on from the newest checkpoint in `output_dir`, if there is one.
        compile: run the model through torch.compile.
        channels_last: store the weights of convolutions channel by channel innermost, which many are
            faster with.
        device: "cpu" forces the CPU; None takes the GPU where there is one.
        workers: processes that load data.
        logs: any of "csv" and "tensorboard", written to `output_dir`.
        progress: a progress bar on a terminal (never in a page or a log file).
    """

    epochs: int
    batch_size: int
    lr: float
    seed: int
    optimizer: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.01
    groups: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    schedule: str = "cosine"
    warmup: float = 0.1
    clip: float | None = 1.0
    precision: str = "no"
    accumulate: int = 1
    ema: float | None = None
    monitor: str = "loss"
    patience: int | None = None
    output_dir: str | Path | None = None
    save_every: int | None = None
    keep: int = 2
    keep_best: int = 1
    resume: bool = False
    compile: bool = False
    channels_last: bool = False
    device: str | None = None
    workers: int = 0
    logs: tuple[str, ...] = ()
    progress: bool = True

    # What may differ between a run and the run that goes on from its checkpoint.
    FREE: ClassVar[tuple[str, ...]] = (
        "output_dir", "save_every", "keep", "keep_best", "resume", "device", "workers", "logs", "progress",
    )  # fmt: skip

    def __post_init__(self) -> None:
        one_of = {"optimizer": tuple(OPTIMIZERS), "schedule": SCHEDULES, "precision": PRECISIONS}
        for name, allowed in one_of.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(allowed)}")
        if self.device not in (None, "cpu"):
            raise ValueError(
                f"device is {self.device!r}; give 'cpu', or None to take a GPU where there is one"
            )
        for log in self.logs:
            if log not in LOGS:
                raise ValueError(f"logs has {log!r}; choose from {', '.join(LOGS)}")
        for name in ("epochs", "batch_size", "accumulate", "keep", "keep_best", "patience", "save_every"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} is {value!r}; it must be a whole number, at least 1")
        for name in ("lr", "weight_decay", "clip", "workers"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"{name} is {value!r}; it must be a number, not below 0")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup is {self.warmup}; it is a share of all steps, from 0 to below 1")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(
                f"betas is {self.betas!r}; give two numbers from 0 to below 1, such as (0.9, 0.999)"
            )
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"ema is {self.ema}; it is the share that stays, between 0 and 1, such as 0.999")
        for name in ("save_every", "logs", "resume"):
            if getattr(self, name) and self.output_dir is None:
                raise ValueError(f"{name} is {getattr(self, name)!r}, which needs a folder; give output_dir")

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Settings:
        """Settings from keywords, with an error that lists what there is for one that there is not.

        Raises:
            TypeError: an unknown option, or one that has no default and is missing.
        """
        names = [f.name for f in fields(cls)]
        for name in options:
            if name not in names:
                raise TypeError(f"the trainer has no option {name!r}; there are {', '.join(names)}")
        missing = [name for name in ("epochs", "batch_size", "lr", "seed") if name not in options]
        if missing:
            raise TypeError(f"the trainer needs {', '.join(missing)}")
        return cls(**options)

    def decisive(self) -> dict[str, Any]:
        """Those options that decide the result, as plain values."""
        every = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in every.items() if name not in self.FREE}
