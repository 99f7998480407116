"""The gradient of one batch, whole or in parts, on one process or many: always that of the whole batch.

A loss is a sum over what counts, divided once by how much counts in all parts of all processes. What compares
samples with each other does not add up over parts: `mmbook.train.between`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from mmbook.train.batch_norm import SyncedNorms
from mmbook.train.batches import Step, parts_of
from mmbook.train.between import BETWEEN, Between

Parts = list[tuple[dict[str, Any], int]]


class Gradient:
    """Leaves the gradient of the mean loss over a step's samples in the parameters.

    What a model may have beside ``forward(**batch).loss`` (as `mmbook.MultimodalModel` has), all optional:

    - ``num_items(**batch)``: what its loss is a mean over, where that is not the samples. Then ``forward``
      takes `num_items_in_batch`, and gives the sum over a part divided by that.
    - ``contrast(embeddings)``: the loss between samples, from the ``.embeddings`` that ``forward`` returns.
    - ``objectives``: names. ``forward(objective=name, **batch)`` is the loss of one of them, and ``combine``
      makes of their gradients the one to step by (as `mmbook.book.written.pcgrad.PCGrad`).

    Batch norm, which is over the samples of all processes, is over each part by itself.

    Args:
        accelerator: moves gradients between processes; each process is given the mean over all of them, so
            that a loss times the number of processes becomes a sum.
        model: as the accelerator prepared it.
        inner: the model itself.
        accumulate: parts to cut a batch into.
    """

    def __init__(self, accelerator: Accelerator, model: nn.Module, inner: nn.Module, accumulate: int) -> None:
        self.accelerator, self.model, self.inner, self.accumulate = accelerator, model, inner, accumulate
        self.world = accelerator.num_processes
        self.norms = SyncedNorms(inner) if self.world > 1 else None
        # accelerate's divides each loss by a count of parts, here always 1, which takes its time
        self.backward = Tensor.backward if accelerator.scaler is None else accelerator.backward

    def __call__(self, step: Step, **turn: Any) -> Tensor:
        """The loss over the samples of all processes: a scalar on the device, without a graph."""
        # as many on each process, for what they do together (norms, shards) they do once a part
        count = min(self.accumulate, -(-step.total // self.world))
        if count == self.world == 1:
            loss = self.model(**step.batch, **turn).loss
            self.backward(loss)
            return loss.detach()
        parts = parts_of(step.batch, count, step.real)
        if hasattr(self.inner, "objectives"):
            return self._combined(parts, step.total, turn)
        return self._summed(parts, step.total, turn)

    def _summed(self, parts: Parts, total: int, turn: Mapping[str, Any]) -> Tensor:
        """Part after part; the gradients add up."""
        items = self._items(parts)
        given = dict(turn) if items is None else {**turn, "num_items_in_batch": items}
        between = self._between(parts, given)
        losses = []
        for i, (part, real) in enumerate(parts):
            with self._quiet(i < len(parts) - 1), self._real(real > 0):
                if between is not None:
                    between.again(i)
                out = self.model(**part, **given)
                share = real > 0 if items is not None else 0 if between is not None else real / total
                own = out.loss if share == 1 else out.loss * share
                back = own if between is None else own + between.back(out.embeddings, i)
                self.backward(back if self.world == 1 else back * self.world)
            losses.append(own.detach())
        loss = torch.stack(losses).sum()
        loss = loss if self.world == 1 else self.accelerator.reduce(loss, "sum")
        if between is None:
            return loss
        between.add_own()
        return loss + between.loss

    def _items(self, parts: Parts) -> int | Tensor | None:
        """What the loss of all parts and processes is a mean over; None for the samples."""
        counter = getattr(self.inner, "num_items", None)
        if counter is None:
            return None
        items = sum(counter(**part) for part, real in parts if real)
        if self.world > 1:
            items = self.accelerator.reduce(torch.as_tensor(items, device=self.accelerator.device), "sum")
        return items.clamp(min=1) if isinstance(items, Tensor) else max(items, 1)

    def _between(self, parts: Parts, given: Mapping[str, Any]) -> Between | None:
        """What compares the samples, if anything does."""
        if getattr(self.inner, "contrast", None) is None:
            return None
        if given.get("objective", BETWEEN) != BETWEEN:
            return None

        def embed(part: Mapping[str, Any], real: int) -> Mapping[str, Tensor]:
            with self._real(real > 0):
                return self.model(**part, **given).embeddings

        return Between(self.accelerator, self.inner, parts, embed)

    def _combined(self, parts: Parts, total: int, turn: Mapping[str, Any]) -> Tensor:
        """The gradient of each objective over the whole batch, made one by the model."""
        losses, gradients = [], []
        named = dict(self.inner.named_parameters())
        for objective in self.inner.objectives:  # type: ignore[union-attr]
            self.inner.zero_grad()
            losses.append(self._summed(parts, total, {**turn, "objective": objective}))
            gradients.append({n: p.grad.clone() for n, p in named.items() if p.grad is not None})
        for name, gradient in self.inner.combine(gradients).items():  # type: ignore[operator]
            if self.world > 1:  # what is drawn at random to combine them is the first process's
                torch.distributed.broadcast(gradient, 0)
            named[name].grad = gradient
        return torch.stack(losses).sum()

    def _quiet(self, wanted: bool) -> Any:
        """Parts before the last keep their gradients to themselves."""
        return self.accelerator.no_sync(self.model) if wanted else nullcontext()

    def _real(self, counts: bool) -> Any:
        return self.norms.real(counts) if self.norms is not None else nullcontext()

    def release(self) -> None:
        """Take off what was put on the model for the time of training."""
        if self.norms is not None:
            self.norms.undo()
