"""The variational auto-encoder: a density for a modality, learned by a bound on its likelihood."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmbook.generate.condition import Condition, rows_of
from mmbook.heads import per_item
from mmbook.modality import Modality, group
from mmbook.registry import register


class VAEOutput(NamedTuple):
    """What a forward pass returns.

    Attributes:
        loss: scalar, minus the evidence lower bound in nats a sample, mean over the batch.
        logits: ``(B, ...)``, the decoder's mean, which is the reconstruction.
        misfit: ``(B,)``, ``-log p(x | z, c)``.
        kl: ``(B,)``, what z tells of x, in nats.
    """

    loss: Tensor
    logits: Tensor
    misfit: Tensor
    kl: Tensor


@register
class VAE(nn.Module):
    """``p(x | c) = integral of p(x | z, c) p(z) dz``, for one modality x given others, c, or given nothing.

    The integral cannot be computed, but bounded from below: for any ``q(z | x, c)``

        ``log p(x | c) >= E_q[log p(x | z, c)] - KL(q(z | x, c) || p(z))``,

    with equality where q is the true posterior. Here ``p(z) = N(0, 1)``, ``q = N(mean, exp(log_variance))``
    with both from the encoder, and ``p(x | z, c) = N(decoder(z, c), noise ** 2)`` with one learned noise for
    all values (Rybkin et al. 2021): at a fixed noise of 1, the first term would be so weak that z would not
    be used.

    It trains under `mmbook.Trainer`: rows hold `target` and the modalities given. A row without its target
    contributes nothing to the loss.

    Args:
        encoder: ``(x, c) -> (B, 2 * latent)``, mean and log variance.
        decoder: ``(z, c) -> (B, ...)``, the mean of x.
        latent: width of z.
        target: name of the modality that is generated, one token or frame a sample.
        condition: of what is given; None for nothing.
        beta: weight of the KL term; 1 is the bound, more presses z towards the prior (Higgins et al. 2017).
        noise: where the learned noise starts: near the error that you hope for, or early steps go into it.

    Source: Kingma and Welling 2014, https://arxiv.org/abs/1312.6114; conditional, Sohn, Lee and Yan 2015,
    https://papers.nips.cc/paper/5775; learned noise, Rybkin, Daniilidis and Levine 2021,
    https://arxiv.org/abs/2006.13202.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent: int,
        target: str = "image",
        condition: Condition | None = None,
        beta: float = 1.0,
        noise: float = 1.0,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.condition = encoder, decoder, condition or Condition()
        self.latent, self.target, self.beta = latent, target, beta
        self.log_noise = nn.Parameter(torch.tensor(math.log(noise)))

    def encode(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of ``q(z | x, c)``, each ``(B, latent)``."""
        mean, log_variance = self.encoder(x, c).chunk(2, dim=-1)
        return mean, log_variance

    def bound(self, x: Tensor, c: Tensor) -> VAEOutput:
        """The evidence lower bound of x ``(B, ...)`` given c ``(B, C)``, with one draw of z a sample."""
        mean, log_variance = self.encode(x, c)
        z = mean + (log_variance / 2).exp() * torch.randn_like(mean)  # the draw, as a function of q's numbers
        guess = self.decoder(z, c)
        error = ((x - guess) / self.log_noise.exp()).square().flatten(1)  # (B, values)
        misfit = (error / 2 + self.log_noise + math.log(2 * math.pi) / 2).sum(dim=1)
        kl = kl_to_standard_normal(mean, log_variance)
        return VAEOutput((misfit + self.beta * kl).mean(), guess, misfit, kl)

    def forward(
        self, labels: Tensor | None = None, num_items_in_batch: int | Tensor | None = None, **batch: Tensor
    ) -> VAEOutput:
        """The bound on a flat batch, over the rows that have the target; `labels` are ignored.

        `num_items_in_batch`: as in `mmbook.MultimodalModel.forward`.

        Raises:
            ValueError: a key that is neither the target nor given, or no target at all.
        """
        parts = group(batch, [self.target, *self.condition.dims])
        if self.target not in parts:
            raise ValueError(f"the batch has no {self.target!r}, which this VAE learns to generate")
        goal = parts.pop(self.target).cleaned()
        x, there = goal.values.squeeze(1), goal.mask.any(dim=1).float()  # one token: (B, 1, ...) -> (B, ...)
        found = self.bound(x, self.condition(parts, x))
        # masked, and not left out: a batch without a single target has loss 0 and not the mean of nothing
        total = (there * (found.misfit + self.beta * found.kl)).sum()
        items = there.sum() if num_items_in_batch is None else num_items_in_batch
        return found._replace(loss=per_item(total, items))

    def num_items(self, labels: Tensor | None = None, **batch: Tensor) -> Tensor:
        """What the loss is a mean over: the rows that have the target."""
        parts = group(batch, [self.target, *self.condition.dims])
        return parts[self.target].present.sum() if self.target in parts else torch.tensor(0)

    @torch.no_grad()
    def sample(
        self,
        given: Mapping[str, Modality],
        count: int | None = None,
        *,
        noise: bool = True,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """One draw of the target ``(B, ...)`` for each row of what is given.

        Args:
            given: as the condition takes it; empty for an unconditional draw, and then `count` rows.
            noise: False leaves the decoder's noise away: for pictures to look at, where it is grain. A draw
                from the model's density has it.
            generator: of the random numbers; None for torch's own.
        """
        z = torch.randn(rows_of(given, count), self.latent, generator=generator).to(self.log_noise)
        x = self.decoder(z, self.condition(given, z))
        if not noise:
            return x
        return x + self.log_noise.exp() * torch.randn(x.shape, generator=generator).to(x)


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """``KL(N(mean, exp(log_variance)) || N(0, 1))`` of ``(B, D)``, summed over D, in nats: ``(B,)``.

    ``E_q[log q(z) - log p(z)]`` of two normal densities leaves ``(mean² + variance - log variance - 1) / 2``
    for each dimension.
    """
    return (mean.square() + log_variance.exp() - log_variance - 1).sum(dim=-1) / 2
