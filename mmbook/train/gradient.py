"""The gradient of one batch, whole or in parts, on one process or many: always that of the whole batch."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.utils.checkpoint import get_device_states, set_device_states

from mmbook.train.batch_norm import SyncedNorms
from mmbook.train.batches import parts_of
from mmbook.train.feed import Step


class Gradient:
    """Leaves the gradient of the mean loss over a step's samples in the parameters.

    Args:
        engine: moves gradients between processes; each process is given the mean over all of them, so that
            a loss times the number of processes becomes a sum.
        model: as the engine prepared it.
        inner: the model itself. If it has a method ``contrast(embeddings) -> loss``, its loss compares the
            samples of a batch with each other, and a sum over parts would be another loss: then `cached`.
        accumulate: parts to cut a batch into.
    """

    def __init__(self, engine: Accelerator, model: nn.Module, inner: nn.Module, accumulate: int) -> None:
        self.engine, self.model, self.inner, self.accumulate = engine, model, inner, accumulate
        self.world = engine.num_processes
        self.norms = SyncedNorms(inner) if self.world > 1 else None
        # accelerate's divides each loss by a count of parts, here always 1, which takes its time
        self.backward = Tensor.backward if engine.scaler is None else engine.backward

    def __call__(self, step: Step, **turn: Any) -> Tensor:
        """The mean loss over the samples of all processes: a scalar on the device, without a graph."""
        # as many on each process, for what they do together (norms, shards) they do once a part
        count = min(self.accumulate, -(-step.total // self.world))
        parts = parts_of(step.batch, count, step.real)
        if hasattr(self.inner, "contrast") and (count > 1 or self.world > 1):
            return self.cached(parts)
        losses = []
        for i, (part, real) in enumerate(parts):
            with self._quiet(i < count - 1), self._real(real > 0):
                mean = self.model(**part, **turn).loss
                # a part counts by its samples, or a short last one would count too much
                share = real * self.world / step.total
                self.backward(mean if share == 1 else mean * share)
            losses.append(mean.detach() if real == step.total else mean.detach() * (real / step.total))
        return self._summed(losses[0] if count == 1 else torch.stack(losses).sum())

    def cached(self, parts: list[tuple[dict[str, Any], int]]) -> Tensor:
        """The gradient of a loss over all samples of all parts and processes, in the memory of one part.

        Embed everything without a graph; compute the loss and its gradient by each embedding; embed again,
        part by part, and send that gradient back.

        Source: Gao, Zhang, Han and Callan (2021), *Scaling Deep Contrastive Learning Batch Size under Memory
        Limited Setup* (GradCache), https://arxiv.org/abs/2101.06983.
        """
        states, embedded = [], []
        with torch.no_grad():
            for part, real in parts:
                states.append(_random_states(part))
                with self._real(real > 0):
                    found = self.model(**part).embeddings
                embedded.append({name: value[:real] for name, value in found.items()})
        after = _random_states(parts[0][0])
        ours = {name: torch.cat([e[name] for e in embedded]).detach() for name in embedded[0]}
        leaves = {name: v.requires_grad_() for name, v in ours.items() if v.is_floating_point()}
        loss = self.inner.contrast(self._everyones(ours))  # type: ignore[operator]
        own = [p for p in self.inner.parameters() if p.requires_grad]  # a temperature, say
        gradients = torch.autograd.grad(loss, [*leaves.values(), *own], allow_unused=True)
        by_embedding = dict(zip(leaves, gradients, strict=False))
        start = 0
        for i, (part, real) in enumerate(parts):
            _restore(states[i])
            last = i == len(parts) - 1
            with self._quiet(not last), self._real(real > 0):
                found = self.model(**part).embeddings
                back = sum(
                    (found[name][:real] * gradient[start : start + real]).sum() * self.world
                    for name, gradient in by_embedding.items()
                    if gradient is not None
                )
                if last:  # the same on every process, so that their mean is right as it is
                    pairs = zip(own, gradients[len(leaves) :], strict=True)
                    back = back + sum((p * g).sum() for p, g in pairs if g is not None)
                self.backward(back)
            start += real
        _restore(after)
        return loss.detach()

    def _everyones(self, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The embeddings of all processes, ours with their graph, in the order of the processes."""
        if self.world == 1:
            return dict(ours)
        theirs = gather_object([{name: value.detach().cpu() for name, value in ours.items()}])
        theirs[self.engine.process_index] = ours
        return {
            name: torch.cat([each[name].to(value.device) for each in theirs]) for name, value in ours.items()
        }

    def _quiet(self, wanted: bool) -> Any:
        """Parts before the last keep their gradients to themselves."""
        return self.engine.no_sync(self.model) if wanted else nullcontext()

    def _real(self, counts: bool) -> Any:
        return self.norms.real(counts) if self.norms is not None else nullcontext()

    def _summed(self, loss: Tensor) -> Tensor:
        return loss if self.world == 1 else self.engine.reduce(loss, "sum")  # type: ignore[return-value]

    def release(self) -> None:
        """Take off what was put on the model for the time of training."""
        if self.norms is not None:
            self.norms.undo()


def _random_states(part: Mapping[str, Any]) -> Any:
    """So that dropout can be repeated."""
    return torch.get_rng_state(), *get_device_states(*part.values())


def _restore(states: Any) -> None:
    cpu, devices, others = states
    torch.set_rng_state(cpu)
    set_device_states(devices, others)
