"""The training loop, for any model whose ``forward(**batch)`` returns ``.loss`` (and ``.logits``).

accelerate places model and batches on the device and sets the precision; the loop itself is below, in full.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from mmbook.modality import collate as pad_and_mask
from mmbook.train.batches import parts_of, size_of
from mmbook.train.optimizer import build_optimizer, lr_factor

PRECISIONS = ("no", "bf16", "fp16")
LOWER_IS_BETTER = ("loss", "nll", "mae", "mse")


class Predictions(NamedTuple):
    """A model's answers over a dataset, on the CPU, in the dataset's order.

    Attributes:
        logits: ``(N, ...)`` float32.
        labels: ``(N, ...)``.
        loss: mean over the samples.
    """

    logits: Tensor
    labels: Tensor
    loss: float


class Trainer:
    """Train, keep the best epoch, evaluate.

    Args:
        model: ``forward(**batch)`` returns an object with ``.loss`` (the mean over the batch) and
            ``.logits``.
        train: dataset of rows for `collate`.
        valid: evaluated after each epoch; the epoch with the best `monitor` is put back at the end. Without
            it the last epoch stays.
        epochs: passes over `train`.
        batch_size: samples per optimiser step (and process).
        lr: peak learning rate.
        seed: decides the order of the samples and every random draw in training. The model comes with its
            initial weights, so seed before making it, too.
        collate: list of rows -> flat dict of tensors.
        optimizer: ``"adamw"``, ``"adam"`` or ``"sgd"`` (momentum 0.9).
        weight_decay: on matrices only.
        schedule: ``"cosine"``, ``"linear"`` or ``"constant"``, after `warmup` (a share of all steps).
        clip: largest norm of the whole gradient; None for no clipping.
        precision: ``"no"`` (float32), ``"bf16"`` or ``"fp16"``.
        accumulate: work through each batch in this many parts, to save memory. The gradient is that of the
            whole batch, also where the last part is smaller.
        monitor: a key of `evaluate`.
        output_dir: where the best weights are also written, as safetensors; None keeps them in memory only.
        device: ``"cpu"`` forces the CPU; None takes the GPU where there is one.
        workers: processes that load data.
        progress: a progress bar on a terminal (never in a page or a log file).

    Raises:
        ValueError: an option outside what is listed above, or an empty dataset.
    """

    def __init__(
        self,
        model: nn.Module,
        train: Dataset,
        valid: Dataset | None = None,
        *,
        epochs: int,
        batch_size: int,
        lr: float,
        seed: int,
        collate: Callable[[Sequence[Any]], Mapping[str, Any]] = pad_and_mask,
        optimizer: str = "adamw",
        weight_decay: float = 0.01,
        schedule: str = "cosine",
        warmup: float = 0.1,
        clip: float | None = 1.0,
        precision: str = "no",
        accumulate: int = 1,
        monitor: str = "loss",
        output_dir: str | Path | None = None,
        device: str | None = None,
        workers: int = 0,
        progress: bool = True,
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision is {precision!r}; choose one of {', '.join(PRECISIONS)}")
        if device not in (None, "cpu"):
            raise ValueError(f"device is {device!r}; give 'cpu', or None to take the GPU where there is one")
        for name, value in {"epochs": epochs, "batch_size": batch_size, "accumulate": accumulate}.items():
            if value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        if len(train) == 0:  # type: ignore[arg-type]
            raise ValueError("the training set is empty")
        self.model, self.train_set, self.valid_set, self.collate = model, train, valid, collate
        self.epochs, self.batch_size, self.accumulate, self.seed = epochs, batch_size, accumulate, seed
        self.clip, self.monitor, self.workers, self.progress = clip, monitor, workers, progress
        self.precision, self.device = precision, device
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.steps = epochs * -(-len(train) // batch_size)  # type: ignore[arg-type]
        self.optimizer = build_optimizer(model.parameters(), optimizer, lr, weight_decay)
        self.lr_factor = lr_factor(schedule, self.steps, warmup)
        self.history = pd.DataFrame()

    def fit(self) -> pd.DataFrame:
        """Train; returns the history, one row an epoch: loss, lr, samples_per_second, and ``valid_*``.

        Raises:
            FloatingPointError: the loss is no longer finite; names epoch, step and the ids in the batch.
        """
        set_seed(self.seed)
        accelerator = self._accelerator()
        loader = accelerator.prepare_data_loader(self._loader(self.train_set, shuffle=True))
        model, optimizer = accelerator.prepare(self.model, self.optimizer)
        schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self.lr_factor)
        rows, best = [], None
        bar = tqdm(total=self.steps, unit="step", disable=None if self.progress else True, leave=False)
        for epoch in range(self.epochs):
            loader.set_epoch(epoch)
            model.train()
            start, losses, seen = time.perf_counter(), 0.0, 0
            for batch in loader:
                lr = schedule.get_last_lr()[0]
                loss = self._gradient(accelerator, model, batch, epoch)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                size = size_of(batch)
                losses, seen = losses + loss * size, seen + size
                bar.update()
                bar.set_postfix(epoch=epoch + 1, loss=f"{loss:.3f}")
            row = {"epoch": epoch + 1, "loss": losses / seen, "lr": lr}
            row["samples_per_second"] = seen / (time.perf_counter() - start)
            if self.valid_set is not None:
                scores = self.evaluate(self.valid_set)
                if best is None or self._better(scores, best[0]):
                    best = (scores, copy.deepcopy(self._trained()))
                    self._write(best[1])
                row |= {f"valid_{key}": value for key, value in scores.items()}
            rows.append(row)
        bar.close()
        # takes autocast off again, so that the model is the reader's own object, as it was
        accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        if best is not None:
            self.model.load_state_dict(best[1], strict=False)
        self.history = pd.DataFrame(rows)
        return self.history

    def _gradient(
        self, accelerator: Accelerator, model: nn.Module, batch: Mapping[str, Any], epoch: int
    ) -> float:
        """Leave the (clipped) gradient of the batch's mean loss in the parameters; returns that loss."""
        size, total = size_of(batch), 0.0
        for part, share in parts_of(batch, self.accumulate):
            with accelerator.autocast():
                # a part counts by its samples, or a short last one would count too much
                loss = model(**part).loss * share
            accelerator.backward(loss)
            total += loss.item()
        if not torch.isfinite(torch.tensor(total)):
            ids = batch["ids"].tolist() if "ids" in batch else "unknown (give the rows an 'id')"
            raise FloatingPointError(
                f"the loss is {total} in epoch {epoch + 1}, in a batch of {size} with ids {ids}; "
                f"look at these samples, or lower lr or clip"
            )
        if self.clip is not None:
            accelerator.clip_grad_norm_(model.parameters(), self.clip)
        return total

    @torch.no_grad()
    def predict(self, dataset: Dataset) -> Predictions:
        """The model's logits over a labelled dataset, in order."""
        accelerator = self._accelerator()
        loader = accelerator.prepare_data_loader(self._loader(dataset, shuffle=False))
        model = self.model.to(accelerator.device)
        training, logits, labels, loss = model.training, [], [], 0.0
        model.eval()
        for batch in loader:
            with accelerator.autocast():
                output = model(**batch)
            loss += output.loss.item() * size_of(batch)
            logits.append(accelerator.gather_for_metrics(output.logits).float().cpu())
            labels.append(accelerator.gather_for_metrics(batch["labels"]).cpu())
        model.train(training)
        return Predictions(torch.cat(logits), torch.cat(labels), loss / len(dataset))  # type: ignore[arg-type]

    def evaluate(self, dataset: Dataset) -> dict[str, float]:
        """``loss`` and, by the type of the labels, the metrics of `mmbook.evaluate`.

        Integer labels: accuracy, balanced_accuracy, f1, nll. Float labels: mae, mse, correlation. Under a
        head with several tasks (`mmbook.models.MultiTask`) these of each task, as ``<task>_accuracy`` etc.
        """
        from mmbook.evaluate.metrics import classification_metrics, regression_metrics

        logits, labels, loss = self.predict(dataset)
        by_task = getattr(getattr(self.model, "head", None), "by_task", None)
        answers = {"": (logits, labels)} if by_task is None else by_task(logits, labels)
        scores = {"loss": loss}
        for task, (ours, truth) in answers.items():
            metrics = regression_metrics if truth.is_floating_point() else classification_metrics
            scores |= {f"{task}_{key}".lstrip("_"): value for key, value in metrics(ours, truth).items()}
        return scores

    def _accelerator(self) -> Accelerator:
        # accelerate keeps one state a process and refuses a second precision: start from a clean one
        state = AcceleratorState._shared_state
        if state and state.get("_mixed_precision") != self.precision:
            AcceleratorState._reset_state()
        return Accelerator(
            cpu=self.device == "cpu",
            mixed_precision=self.precision,
            dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True, data_seed=self.seed),
        )

    def _loader(self, dataset: Dataset, shuffle: bool) -> DataLoader:
        return DataLoader(
            dataset, self.batch_size, shuffle=shuffle, collate_fn=self.collate, num_workers=self.workers
        )

    def _better(self, scores: Mapping[str, float], best: Mapping[str, float]) -> bool:
        if self.monitor not in scores:
            raise ValueError(f"monitor is {self.monitor!r}; evaluate gives {', '.join(scores)}")
        new, old = scores[self.monitor], best[self.monitor]
        return new < old if self.monitor in LOWER_IS_BETTER else new > old

    def _trained(self) -> dict[str, Tensor]:
        """The state without frozen parameters, which cannot have changed and may be large."""
        frozen = {name for name, p in self.model.named_parameters() if not p.requires_grad}
        return {name: value for name, value in self.model.state_dict().items() if name not in frozen}

    def _write(self, state: Mapping[str, Tensor]) -> None:
        if self.output_dir is None:
            return
        self.output_dir.mkdir(parents=True, exist_ok=True)
        temporary = self.output_dir / "best.safetensors.part"
        save_file({k: v.detach().cpu().contiguous() for k, v in state.items()}, temporary)
        temporary.replace(self.output_dir / "best.safetensors")
