"""Generative adversarial networks: a generator that draws, a critic that tells its drawings from real ones.

The parts and their losses; `Adversarial` is the game.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from mmbook.generate.condition import Condition, rows_of
from mmbook.generate.networks import SLOPE
from mmbook.modality import Modality
from mmbook.registry import register


@register
class Generator(nn.Module):
    """Noise z ``(B, latent)`` and what is given, to a sample ``(B, ...)``.

    Args:
        net: ``(z, c) -> (B, ...)``, such as `mmbook.generate.DrawingNet`.
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
