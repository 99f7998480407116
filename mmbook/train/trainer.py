"""The training loop, for any model whose ``forward(**batch)`` returns ``.loss`` (and ``.logits``).

accelerate places model and batches on the device, sets the precision, and joins processes; the loop itself is
below, in full. `mmbook.train.gradient` has the gradient of a batch, `mmbook.train.checkpoint` what is kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

from mmbook.data.files import Skipped
from mmbook.modality import collate as pad_and_mask
from mmbook.train.accelerator import channels_last, lean, make_accelerator
from mmbook.train.average import RunningAverage
from mmbook.train.batches import Loader, Step
from mmbook.train.callbacks import Callback, chosen
from mmbook.train.checkpoint import Best, Checkpoints
from mmbook.train.gradient import Gradient
from mmbook.train.optimizer import build_optimizer
from mmbook.train.predictions import Predictions, predictions, scores_of
from mmbook.train.progress import CURVE, Pending, Progress, StepLog
from mmbook.train.settings import SCHEDULES, Settings
from mmbook.train.streams import StreamLoader


class Trainer:
    """Train, keep the best epoch, evaluate.

    Args:
        model: ``forward(**batch)`` returns an object with ``.loss`` (the mean over the batch) and
            ``.logits``. A model with an attribute ``turns``, name -> module, is trained in turns as a GAN
            is: for each batch and turn, ``forward(turn=name, **batch).loss`` and a step of an optimiser of
            that module's own. A loss that is a mean over something else than samples, or that compares them
            with each other, says so as in `mmbook.train.gradient.Gradient`.
        train: dataset of rows for `collate`; or an IterableDataset with a length.
        valid: evaluated after each epoch; the epoch with the best `monitor` is put back at the end. Without
            it the last epoch stays.
        collate: list of rows -> flat dict of tensors.
        callbacks: what watches the run.
        settings: epochs, batch_size, lr, seed and the other options of `mmbook.train.Settings`.

    Attributes:
        history: one row an epoch: loss, lr, samples_per_second, and ``valid_*``; of a model with turns also
            ``<turn>_loss``, and then ``loss`` is their sum.
        curve: one row a step: lr, gradient norm before clipping (NaN without `clip`), loss; and
            ``lr_<group>`` of each of `groups` that has its own. Like `history`, it is there after a run that
            ended in an error, too.
        skipped: what could not be read, of a dataset that reports it.

    Raises:
        TypeError: an unknown option, or one that is missing.
        ValueError: a value that is not allowed, or an empty dataset.
    """

    def __init__(
        self,
        model: nn.Module,
        train: Dataset,
        valid: Dataset | None = None,
        *,
        collate: Callable[[Sequence[Any]], Mapping[str, Any]] = pad_and_mask,
        callbacks: Sequence[Callback] = (),
        **settings: Any,
    ) -> None:
        self.settings = s = Settings.of(settings)
        count = len(train)  # type: ignore[arg-type]
        if count == 0:
            raise ValueError("the training set is empty")
        self.model, self.train_set, self.valid_set, self.collate = model, train, valid, collate
        self.output_dir = None if s.output_dir is None else Path(s.output_dir)
        self.turns: Mapping[str, nn.Module] = getattr(model, "turns", {"": model})
        self.optimizers = self._optimizers()
        self.steps = s.epochs * -(-count // s.batch_size)
        self.lr_factor = lr_factor(s.schedule, self.steps, s.warmup)
        self.callbacks = [*chosen(s.logs, self.output_dir, s.progress), *callbacks]
        self.progress, self.stop = Progress(), False
        self.skipped: list[Skipped] = []
        self.prepared: Any = None  # the model as accelerate wraps it, while it is trained
        self.history = self.curve = pd.DataFrame()
        self._fitted = False

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """One for each turn, as the settings say, that has taken no step."""
        s, found = self.settings, {}
        names = {id(p): name for name, p in self.model.named_parameters()}
        for turn, part in self.turns.items():
            named = [(names[id(p)], p) for p in part.parameters()]
            found[turn] = build_optimizer(named, s.optimizer, s.lr, s.weight_decay, s.groups, s.betas)
        return found

    def fit(self) -> pd.DataFrame:
        """Train; returns the history.

        Called again, it trains the model as it is now once more, from step 0 and with a new optimiser.

        Raises:
            FloatingPointError: loss or gradient is no longer finite; names epoch, step and ids of the batch.
            OSError: a checkpoint could not be written; names the one that is whole.
            ValueError: `output_dir` holds a checkpoint of an earlier run, and `resume` is not given, or the
                run was told otherwise.
        """
        self._start()
        try:
            self._tell("on_start")
            while self.progress.epoch < self.settings.epochs and not self.stop:
                self._epoch()
            if self.average is not None:
                self.average.put()
        finally:
            self._tell("on_end")
            self._release()
            self.history = self.progress.history()
            columns = [*CURVE, *self._group_rates(0)]
            rows = [(*row, *self._group_rates(int(row[0]) - 1).values()) for row in self.progress.curve]
            self.curve = pd.DataFrame(rows, columns=columns).astype({"step": int, "epoch": int})
        self.best.put_back(self.model, self.accelerator.is_main_process)
        return self.history

    def _start(self) -> None:
        """Place everything, and go to where a broken run was."""
        s = self.settings
        if self._fitted:
            self.optimizers = self._optimizers()
        self._fitted = True
        self.accelerator = make_accelerator(s, self.model)
        set_seed(s.seed + self.accelerator.process_index)  # two devices need not drop the same units
        self.progress = Progress(settings=s.decisive() | {"samples": len(self.train_set)})  # type: ignore[arg-type]
        newest = self.checkpoints = None
        if self.output_dir is not None:
            self.checkpoints = Checkpoints(self.output_dir, s.keep, self.accelerator)
            newest = self.checkpoints.newest()
            if newest is not None and not s.resume:
                raise ValueError(
                    f"{self.output_dir} holds {newest.name} of an earlier run; give resume=True to go on "
                    f"with it, or another output_dir"
                )
        if s.channels_last:
            channels_last(self.model)
        self.prepared, *steppers = self.accelerator.prepare(self.model, *self.optimizers.values())
        self.steppers, self.clip = lean(self.accelerator, dict(zip(self.optimizers, steppers, strict=True)))
        self.clipped = {t: list((p if t else self.prepared).parameters()) for t, p in self.turns.items()}
        self.gradient = Gradient(self.accelerator, self.prepared, self.model, s.accumulate)
        if s.compile:
            self.prepared.compile()
        self.average = None if s.ema is None else RunningAverage(self.model, s.ema)
        if self.average is not None:
            self.accelerator.register_for_checkpointing(self.average)
        if self.checkpoints is not None and newest is not None:
            self.progress = self.checkpoints.load(newest, self.progress.settings)
            self.stop = self.progress.stale >= (s.patience or s.epochs)
        self.loader = self._loader(self.train_set, shuffle=True)
        self.best = Best(self.progress, s.monitor, s.keep_best, self.output_dir)
        self.log = StepLog(self.progress, self.accelerator, self.output_dir, self._tell_step)

    def _epoch(self) -> None:
        """The steps of an epoch from where the run is, evaluation, a row of the history, a checkpoint."""
        p, s = self.progress, self.settings
        self.model.train()
        start, before = time.perf_counter(), p.seen
        for step in self.loader.steps(p.epoch, p.position):
            p.position, p.skipped = p.position + 1, p.skipped + len(step.skipped)
            self.skipped += step.skipped
            if step.total:
                self._step(step)
            if s.save_every and p.step % s.save_every == 0 and p.position < len(self.loader):
                self._save()
        self.log.read()
        row = self._row(before, time.perf_counter() - start)
        if self.valid_set is not None:
            with nullcontext() if self.average is None else self.average.in_place():
                scores = self.evaluate(self.valid_set)
                self.best.consider(scores, self.model, self.accelerator.is_main_process)
            self.stop = self.stop or p.stale >= (s.patience or s.epochs)
            row |= {f"valid_{key}": value for key, value in scores.items()}
        p.rows.append(row)
        p.epoch, p.position, p.seen, p.losses, p.skipped = p.epoch + 1, 0, 0, [], 0
        self._tell("on_epoch", row)
        self._save()

    def _step(self, step: Step) -> None:
        """One optimiser step, or one of each turn."""
        p, s = self.progress, self.settings
        norm: Tensor | float = float("nan")
        losses = []
        for turn, optimizer in self.steppers.items():
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * self.lr_factor(p.step)
            optimizer.zero_grad()  # the other's turn has left its gradient here, too
            losses.append(self.gradient(step, **({"turn": turn} if turn else {})))
            if s.clip is not None:
                norm = self.clip(self.clipped[turn], s.clip)
            if not self.log.lag and not self.log.sound(losses[-1], norm):
                break  # the log will stop the run; the weights stay as they were before this batch
            optimizer.step()
        if self.average is not None:
            self.average.update()
        p.step += 1
        rate = s.lr * self.lr_factor(p.step - 1)
        self.log.write(Pending(p.step, rate, norm, losses, step.batch.get("ids"), step.total))

    def _row(self, before: int, seconds: float) -> dict[str, float]:
        """What an epoch's training says in the history."""
        p = self.progress
        if not p.seen:
            raise ValueError(f"no sample could be read; the first that failed: {self.skipped[:1]}")
        row: dict[str, float] = {"epoch": p.epoch + 1, "loss": sum(p.losses) / p.seen}
        if len(self.turns) > 1:
            row |= {f"{t}_loss": sum_ / p.seen for t, sum_ in zip(self.turns, p.losses, strict=True)}
        row |= {"lr": p.curve[-1][CURVE.index("lr")], "samples_per_second": (p.seen - before) / seconds}
        return row | ({"skipped": p.skipped} if p.skipped else {})

    def _save(self) -> None:
        self.log.read()
        if self.checkpoints is not None:
            self.checkpoints.save(self.progress)
            self.best.prune()

    def _group_rates(self, step: int) -> dict[str, float]:
        """``lr_<group>`` of the groups of parameters that have a learning rate of their own."""
        factor = self.lr_factor(step)
        return {f"lr_{name}": g["lr"] * factor for name, g in self.settings.groups.items() if "lr" in g}

    def _tell_step(self, row: Mapping[str, float]) -> None:
        self._tell("on_step", {**row, **self._group_rates(int(row["step"]) - 1)})

    def _tell(self, event: str, *what: Any) -> None:
        if self.accelerator.is_main_process:
            for callback in self.callbacks:
                getattr(callback, event)(self, *what)

    def _release(self) -> None:
        """Leave the model as the reader's own object: no autocast, no compilation, no gradient left."""
        self.gradient.release()
        self.model.zero_grad()
        if self.settings.compile:
            self.prepared._compiled_call_impl = None
        self.accelerator.unwrap_model(self.prepared, keep_fp32_wrapper=False)
        self.prepared = None

    def predict(self, dataset: Dataset) -> Predictions:
        """The model's logits over a dataset, in order; its loss, where the rows have labels."""
        model = self.prepared
        if model is None:
            self.accelerator = make_accelerator(self.settings, self.model)
            model = self.model.to(self.accelerator.device)
        return predictions(self.accelerator, model, self.model, self._loader(dataset, shuffle=False))

    def evaluate(self, dataset: Dataset) -> dict[str, float]:
        """``loss`` and, by the type of the labels, the metrics of `mmbook.evaluate`.

        Integer labels: accuracy, balanced_accuracy, f1, nll. Float labels: mae, mse, correlation. Under a
        head with several tasks (`mmbook.models.MultiTask`) these of each task, as ``<task>_accuracy`` etc.
        """
        return scores_of(self.predict(dataset), self.model)

    def _loader(self, dataset: Dataset, shuffle: bool) -> Loader:
        s, kind = self.settings, StreamLoader if isinstance(dataset, IterableDataset) else Loader
        return kind(dataset, self.collate, s.batch_size, s.workers, self.accelerator, s.seed, shuffle)


def lr_factor(schedule: str, steps: int, warmup: float) -> Callable[[int], float]:
    """Step -> share of the peak learning rate: a linear rise over ``warmup * steps``, then the schedule.

    A function of the step alone: a run that goes on need not remember it. It stays after the last step.

    Raises:
        ValueError: an unknown schedule, or a warm-up outside [0, 1).
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"unknown schedule {schedule!r}; choose one of {', '.join(SCHEDULES)}")
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup is {warmup}; it is a share of all steps, from 0 to below 1")
    rise = int(warmup * steps)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        done = min(1.0, (step - rise) / max(1, steps - rise))
        return {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}[schedule]

    return factor
