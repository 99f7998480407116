"""Generative adversarial networks: a generator that draws, a critic that tells its drawings from real ones.

The parts and their losses; `Adversarial` is the game, one model, which `mmbook.Trainer` trains in turns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from mmbook.generate.condition import Condition, rows_of
from mmbook.generate.networks import SLOPE
from mmbook.modality import Modality, group
from mmbook.registry import register


@register
class Generator(nn.Module):
    """Noise z ``(B, latent)`` and what is given, to a sample ``(B, ...)``.

    Args:
        net: ``(z, c) -> (B, ...)``, such as `mmbook.generate.VectorNet`.
        latent: width of z.
        condition: of what is given; None for nothing.
    """

    def __init__(self, net: nn.Module, latent: int, condition: Condition | None = None) -> None:
        super().__init__()
        self.net, self.latent, self.condition = net, latent, condition or Condition()

    def forward(self, z: Tensor, given: Mapping[str, Modality]) -> Tensor:
        return self.net(z, self.condition(given, z))

    @torch.no_grad()
    def sample(
        self,
        given: Mapping[str, Modality],
        count: int | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """One draw ``(B, ...)`` for each row of what is given; `count` draws where nothing is."""
        z = torch.randn(rows_of(given, count), self.latent, generator=generator).to(next(self.parameters()))
        return self(z, given)


@register
class Critic(nn.Module):
    """Samples ``(B, ...)`` and what is given, to scores ``(B,)``: the higher, the more real.

    ``score = w . h(x) + e(c) . h(x)``: the first term asks whether x looks real at all, the second whether it
    fits what is given (projection, Miyato and Koyama 2018, https://arxiv.org/abs/1802.05637).

    Args:
        net: ``(x, c) -> (B, net.out_dim)``, called with an empty c.
        condition: of what is given; None for nothing. Its width must be the net's `out_dim`.
        spectral: divide every weight of the net by its largest singular value, so that no layer stretches
            its input (Miyato et al. 2018, https://arxiv.org/abs/1802.05957).

    Raises:
        ValueError: a condition of another width than the net's.
    """

    def __init__(self, net: nn.Module, condition: Condition | None = None, spectral: bool = False) -> None:
        super().__init__()
        width = net.out_dim
        assert isinstance(width, int)  # to a type checker every attribute of a module may be a tensor
        self.net, self.condition = net, condition or Condition()
        if self.condition.dims and self.condition.width != width:
            raise ValueError(f"the condition has width {self.condition.width}; the net needs {width}")
        self.real = nn.Linear(width, 1)
        if spectral:
            for module in [m for m in net.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]:
                spectral_norm(module)

    def forward(self, x: Tensor, given: Mapping[str, Modality]) -> Tensor:
        h = F.leaky_relu(self.net(x, x.new_zeros(len(x), 0)), SLOPE)  # (B, width)
        score = self.real(h).squeeze(-1)
        return score + (self.condition(given, x) * h).sum(dim=-1) if self.condition.dims else score


class Game(NamedTuple):
    """The losses of both sides, from the scores ``(B,)`` of real samples and of generated ones."""

    critic: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor, Tensor], Tensor]


def _tell_apart(real: Tensor, fake: Tensor) -> Tensor:
    """Cross-entropy of "real" under a sigmoid: ``-log s(real) - log(1 - s(fake))``."""
    return (F.softplus(-real) + F.softplus(fake)).mean()


LOSSES: dict[str, Game] = {
    # the game as it is derived: one value, which one side raises and the other lowers
    "saturating": Game(_tell_apart, lambda real, fake: -F.softplus(fake).mean()),
    # the same fixed point, but a strong gradient where the critic is sure that a sample is generated
    "nonsaturating": Game(_tell_apart, lambda real, fake: F.softplus(-fake).mean()),
    "hinge": Game(
        lambda real, fake: (F.relu(1 - real) + F.relu(1 + fake)).mean(), lambda real, fake: -fake.mean()
    ),
    # more real than a real one: each generated sample against one real sample, so that it does not help to
    # pile up all of them on one side of a boundary
    "relativistic": Game(
        lambda real, fake: F.softplus(fake - real).mean(), lambda real, fake: F.softplus(real - fake).mean()
    ),
}


def gradient_penalty(scores: Tensor, x: Tensor) -> Tensor:
    """``||d score / d x||²`` of each sample: ``(B,)``; on real samples R1, on generated ones R2.

    Args:
        scores: ``(B,)``, each computed from its own row of `x` alone.
        x: ``(B, ...)`` with ``requires_grad``.

    Source: Mescheder, Geiger and Nowozin 2018, https://arxiv.org/abs/1801.04406.
    """
    (slope,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
    return slope.square().flatten(1).sum(dim=1)


class AdversarialOutput(NamedTuple):
    """What a turn returns.

    Attributes:
        loss: scalar, of the side whose turn it is.
        real: ``(R,)``, the critic's scores of the R rows that have the target.
        fake: ``(R,)``, its scores of what the generator drew for them.
    """

    loss: Tensor
    real: Tensor
    fake: Tensor


class Adversarial(nn.Module):
    """The game of a GAN on flat batches: ``forward(turn="critic" or "generator", **batch).loss``.

    The trainer gives each turn an optimiser of its own, and what every training has: precisions, processes,
    checkpoints, the running average of the weights (`ema`). A chapter writes the same game out on one tensor,
    with numbers that tell how it goes. A momentum lets each side go on against an opponent who has moved
    since, so train with ``optimizer="adam", betas=(0.0, 0.99)``. The noise is drawn from torch's global
    random state, which the trainer seeds and keeps in its checkpoints.

    Args:
        generator, critic: trained in turns, the critic first. What both are given are the other modalities
            of the batch.
        target: the modality that is drawn, one token a sample: values ``(B, 1, ...)``.
        loss: a key of ``mmbook.book.written.gan.LOSSES``.
        penalty: weight of R1 and R2, each ``penalty / 2`` times the critic's mean squared slope, at real and
            at drawn samples; 0 for none.

    Raises:
        ValueError: an unknown loss, a penalty below zero, or two sides that are given different modalities.
    """

    def __init__(
        self,
        generator: Generator,
        critic: Critic,
        target: str,
        loss: str = "relativistic",
        penalty: float = 1.0,
    ) -> None:
        super().__init__()
        if loss not in LOSSES:
            raise ValueError(f"loss is {loss!r}; choose one of {', '.join(LOSSES)}")
        if penalty < 0:
            raise ValueError(f"penalty is {penalty}; it is a weight, 0 or more")
        sides = {"generator": generator.condition.dims, "critic": critic.condition.dims}
        if sides["generator"].keys() != sides["critic"].keys():
            told = ", ".join(f"the {side} {list(dims) or 'nothing'}" for side, dims in sides.items())
            raise ValueError(f"both sides must be given the same modalities; {told}")
        self.generator, self.critic, self.target = generator, critic, target
        self.loss, self.penalty = loss, penalty
        self.turns = {"critic": critic, "generator": generator}

    def forward(
        self,
        turn: str,
        labels: Tensor | None = None,
        num_items_in_batch: int | Tensor | None = None,
        **batch: Tensor,
    ) -> AdversarialOutput:
        """One side's loss over the rows that have the target; the other side is as it is.

        `labels` are ignored; `num_items_in_batch` is as in `mmbook.MultimodalModel.forward`.

        Raises:
            ValueError: an unknown turn, no target in the batch, or one of several tokens.
        """
        if turn not in self.turns:
            raise ValueError(f"turn is {turn!r}; it is one of {', '.join(self.turns)}")
        parts = group(batch, [self.target, *self.generator.condition.dims])
        if self.target not in parts:
            raise ValueError(f"the batch has no {self.target!r}, which the generator learns to draw")
        goal = parts.pop(self.target)
        if goal.mask.shape[1] != 1:
            raise ValueError(
                f"{self.target!r} has {goal.mask.shape[1]} tokens a sample; the generator draws one"
            )
        rows = goal.mask[:, 0]
        some = rows.any()
        if not some:  # a row for company: the loss counts nothing, but every parameter is in its graph
            goal, rows = goal.cleaned(), torch.ones_like(rows)
        x = goal.values[rows, 0]
        given = {name: Modality(m.values[rows], m.mask[rows]) for name, m in parts.items()}
        side = self._critic if turn == "critic" else self._generator
        out = side(x, given)
        if not some:
            return out._replace(loss=out.loss * 0)
        share = 1 if num_items_in_batch is None else len(x) / num_items_in_batch
        return out._replace(loss=out.loss * share)

    def num_items(self, labels: Tensor | None = None, **batch: Tensor) -> Tensor:
        """What a turn's loss is a mean over: the rows that have the target."""
        parts = group(batch, [self.target, *self.generator.condition.dims])
        return parts[self.target].present.sum() if self.target in parts else torch.tensor(0)

    def _critic(self, x: Tensor, given: Mapping[str, Modality]) -> AdversarialOutput:
        with torch.no_grad():
            fake = self.generator(self._noise(x), given)
        slopes = self.penalty > 0 and torch.is_grad_enabled()
        x, fake = x.detach().requires_grad_(slopes), fake.requires_grad_(slopes)
        on_real, on_fake = self.critic(x, given), self.critic(fake, given)
        loss = LOSSES[self.loss].critic(on_real, on_fake)
        if slopes:
            steep = gradient_penalty(on_real, x) + gradient_penalty(on_fake, fake)
            loss = loss + self.penalty / 2 * steep.mean()
        return AdversarialOutput(loss, on_real.detach(), on_fake.detach())

    def _generator(self, x: Tensor, given: Mapping[str, Modality]) -> AdversarialOutput:
        # gradients run through the critic and leave none in it: to other processes, too, it is idle
        frozen = {name: p.detach() for name, p in self.critic.named_parameters()}
        with torch.no_grad():
            on_real = self.critic(x, given)
        fake = self.generator(self._noise(x), given)
        on_fake = functional_call(self.critic, frozen, (fake, given))
        loss = LOSSES[self.loss].generator(on_real, on_fake)
        return AdversarialOutput(loss, on_real, on_fake.detach())

    def _noise(self, like: Tensor) -> Tensor:
        return torch.randn(len(like), self.generator.latent, device=like.device, dtype=like.dtype)
