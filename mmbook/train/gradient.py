"""The gradient of one batch, whole or in parts, on one process or many: always that of the whole batch.

A loss is a sum over what counts, divided once by how much counts in all parts of all processes. What compares
samples with each other does not add up over parts: its embeddings are gathered first.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.checkpoint import get_device_states, set_device_states

from mmbook.train.accelerator import everyones
from mmbook.train.batch_norm import SyncedNorms
from mmbook.train.batches import Step, parts_of

Parts = list[tuple[dict[str, Any], int]]


class Gradient:
    """Leaves the gradient of the mean loss over a step's samples in the parameters.

    What a model may have beside ``forward(**batch).loss`` (as `mmbook.MultimodalModel` has), all optional:

    - ``num_items(**batch)``: what its loss is a mean over, where that is not the samples. Then ``forward``
      takes `num_items_in_batch`, and gives the sum over a part divided by that.
    - ``contrast(embeddings)``: the loss between samples, from the ``.embeddings`` that ``forward`` returns.
    - ``objectives``: names. ``forward(objective=name, **batch)`` is the loss of one of them, and ``combine``
      makes of their gradients the one to step by (as `mmbook.models.PCGrad`).

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
        return self._summed_up(parts, step.total, turn)

    def _summed_up(self, parts: Parts, total: int, turn: Mapping[str, Any]) -> Tensor:
        """Part after part; the gradients add up."""
        items = self._items(parts)
        between = self._between(parts, turn, items)
        losses = []
        for i, (part, real) in enumerate(parts):
            last = i == len(parts) - 1
            if between is not None:
                _restore(between.states[i])  # the same dropout as when the embeddings were made
            with self._quiet(not last), self._real(real > 0):
                out = self.model(**part, **turn, **_given(items))
                if items is None:
                    own = out.loss * (0 if between else real / total)
                else:
                    own = out.loss if real else out.loss * 0
                back = own * self.world
                if between is not None:
                    back = back + self._sent_back(between, out.embeddings, i)
                self.backward(back)
            losses.append(own.detach())
        if between is not None:
            self._add(between.by_own)
        loss = torch.stack(losses).sum()
        loss = loss if self.world == 1 else self.accelerator.reduce(loss, "sum")
        return loss if between is None else loss + between.loss  # type: ignore[operator]

    def _items(self, parts: Parts) -> int | Tensor | None:
        """What the loss of all parts and processes is a mean over; None for the samples."""
        counter = getattr(self.inner, "num_items", None)
        if counter is None:
            return None
        items = sum(counter(**part) for part, real in parts if real)
        if self.world > 1:
            items = self.accelerator.reduce(torch.as_tensor(items, device=self.accelerator.device), "sum")
        return items.clamp(min=1) if isinstance(items, Tensor) else max(items, 1)

    def _between(self, parts: Parts, turn: Mapping[str, Any], items: int | Tensor | None) -> Between | None:
        """The loss between all samples, and its gradient by their embeddings; None where there is no such.

        So a batch of any size is compared in the memory of one part: embed everything without a graph;
        compute the loss and its gradient by each embedding; embed again, part by part, and send that back.

        Source: Gao, Zhang, Han and Callan (2021), *Scaling Deep Contrastive Learning Batch Size under Memory
        Limited Setup* (GradCache), https://arxiv.org/abs/2101.06983.
        """
        contrast = getattr(self.inner, "contrast", None)
        if contrast is None:
            return None
        states, embedded = [], []
        with torch.no_grad():
            for part, real in parts:
                states.append(_random_states(part))
                with self._real(real > 0):
                    found = self.model(**part, **turn, **_given(items)).embeddings
                if not found:  # of an objective that compares nothing
                    _restore(states[0])
                    return None
                embedded.append({name: value[:real] for name, value in found.items()})
        ours = {name: torch.cat([e[name] for e in embedded]).detach() for name in embedded[0]}
        leaves = {name: v.requires_grad_() for name, v in ours.items() if v.is_floating_point()}
        loss = contrast(everyones(self.accelerator, ours))
        own = [p for p in self.inner.parameters() if p.requires_grad]  # a temperature, say
        wanted = [*leaves.values(), *own]
        gradients: Any = [None] * len(wanted)
        if loss.requires_grad:
            gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
        starts = [sum(real for _, real in parts[:i]) for i in range(len(parts))]
        pieces = [slice(start, start + real) for start, (_, real) in zip(starts, parts, strict=True)]
        by_embedding = {n: g for n, g in zip(leaves, gradients, strict=False) if g is not None}
        by_own = [(p, g) for p, g in zip(own, gradients[len(leaves) :], strict=True) if g is not None]
        return Between(loss.detach(), by_embedding, by_own, states, pieces)

    def _sent_back(self, between: Between, embeddings: Mapping[str, Tensor], i: int) -> Tensor:
        """A scalar through whose graph part `i`'s share of the gradient between samples goes back."""
        piece = between.pieces[i]
        back = torch.zeros((), device=between.loss.device)
        for name, gradient in between.by_embedding.items():
            own = embeddings[name][: piece.stop - piece.start]
            back = back + (own * gradient[piece]).sum() * self.world
        return back

    def _add(self, gradients: list[tuple[nn.Parameter, Tensor]]) -> None:
        """Add what is the same on every process already, so that nobody needs to be told."""
        scale = 1.0 if self.accelerator.scaler is None else self.accelerator.scaler.get_scale()
        for parameter, gradient in gradients:
            gradient = gradient * scale
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)

    def _combined(self, parts: Parts, total: int, turn: Mapping[str, Any]) -> Tensor:
        """The gradient of each objective over the whole batch, made one by the model."""
        losses, gradients = [], []
        named = dict(self.inner.named_parameters())
        for objective in self.inner.objectives:  # type: ignore[union-attr]
            self.inner.zero_grad()
            losses.append(self._summed_up(parts, total, {**turn, "objective": objective}))
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


class Between(NamedTuple):
    """The loss between all samples of a step, ready to be sent back part by part.

    Attributes:
        loss: scalar.
        by_embedding: name -> its gradient by this process's embeddings ``(N, ...)``.
        by_own: parameters that the loss uses itself, with their gradients.
        states: of the random generators, at each part's start.
        pieces: where each part's rows are among the N.
    """

    loss: Tensor
    by_embedding: dict[str, Tensor]
    by_own: list[tuple[nn.Parameter, Tensor]]
    states: list[Any]
    pieces: list[slice]


def _given(items: int | Tensor | None) -> dict[str, Any]:
    return {} if items is None else {"num_items_in_batch": items}


def _random_states(part: Mapping[str, Any]) -> Any:
    """So that dropout can be repeated."""
    return torch.get_rng_state(), *get_device_states(*part.values())


def _restore(states: Any) -> None:
    cpu, devices, others = states
    torch.set_rng_state(cpu)
    set_device_states(devices, others)
