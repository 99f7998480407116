"""A loss between samples over a batch of any size, in the memory of one part of it.

Embed everything without a graph; compute the loss and its gradient by each embedding; embed again, part by
part, and send that gradient back.

Source: Gao, Zhang, Han and Callan (2021), *Scaling Deep Contrastive Learning Batch Size under Memory Limited
Setup* (GradCache), https://arxiv.org/abs/2101.06983.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.checkpoint import get_device_states, set_device_states

from mmbook.train.accelerator import everyones

BETWEEN = "between samples"  # the objective of it, where a model has several


class Between:
    """The loss between all samples of a step, ready to be sent back part by part.

    Args:
        accelerator: knows the other processes, whose samples are compared with ours.
        inner: the model, with ``contrast(embeddings) -> scalar``.
        parts: this process's, each with how many of its rows count.
        embed: part and number of rows that count -> name -> ``(B, ...)``; empty where nothing is compared.

    Attributes:
        loss: scalar, over the samples of all parts and processes.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        inner: nn.Module,
        parts: Sequence[tuple[Mapping[str, Any], int]],
        embed: Callable[[Mapping[str, Any], int], Mapping[str, Tensor]],
    ) -> None:
        self.accelerator, self.counts, self.states = accelerator, [real for _, real in parts], []
        embedded = []
        with torch.no_grad():
            for part, real in parts:
                self.states.append((torch.get_rng_state(), *get_device_states(*part.values())))
                embedded.append({name: value[:real] for name, value in embed(part, real).items()})
        ours = {name: torch.cat([e[name] for e in embedded]).detach() for name in embedded[0]}
        leaves = {name: v.requires_grad_() for name, v in ours.items() if v.is_floating_point()}
        own = [p for p in inner.parameters() if p.requires_grad]  # a temperature, say
        loss = inner.contrast(everyones(accelerator, ours))  # type: ignore[operator]
        wanted = [*leaves.values(), *own]
        found: Sequence[Tensor | None] = [None] * len(wanted)
        if loss.requires_grad:
            found = torch.autograd.grad(loss, wanted, allow_unused=True)
        self.loss = loss.detach()
        pairs = zip(leaves, found, strict=False)
        self.by_embedding = {name: g.split(self.counts) for name, g in pairs if g is not None}
        self.by_parameter = [(p, g) for p, g in zip(own, found[len(leaves) :], strict=True) if g is not None]

    def again(self, i: int) -> None:
        """Put the random generators where they were when part `i` was embedded: the same dropout."""
        cpu, devices, others = self.states[i]
        torch.set_rng_state(cpu)
        set_device_states(devices, others)

    def back(self, embeddings: Mapping[str, Tensor], i: int) -> Tensor:
        """A scalar through whose graph part `i`'s share of the gradient goes back."""
        found = self.loss.new_zeros(())
        for name, gradients in self.by_embedding.items():
            found = found + (embeddings[name][: self.counts[i]] * gradients[i]).sum()
        return found

    def add_own(self) -> None:
        """Add the gradient by parameters that the loss uses itself.

        It is the same on every process already, and not in the graph of any part: nobody is told of it.
        """
        scaler = self.accelerator.scaler
        for parameter, gradient in self.by_parameter:
            gradient = gradient if scaler is None else gradient * scaler.get_scale()
            parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
