"""The game of a GAN, played: two networks, two optimisers, and the numbers that tell how it goes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmbook.book.written.gan import LOSSES, Critic, Generator, gradient_penalty
from mmbook.modality import Modality

if TYPE_CHECKING:
    import pandas as pd


def fit_gan(
    generator: Generator,
    critic: Critic,
    real: Tensor,
    given: Mapping[str, Modality] | None = None,
    *,
    steps: int,
    batch_size: int,
    lr: float,
    seed: int,
    loss: str = "relativistic",
    penalty: float = 1.0,
    momentum: float = 0.0,
    penalty_every: int = 1,
    average: float = 0.99,
    every: int = 100,
    watch: Callable[[Generator], Mapping[str, float]] | None = None,
) -> pd.DataFrame:
    """Train generator and critic in turn, one step each.

    The default is the recipe of Huang et al. (2024): the relativistic loss with a penalty on the critic's
    slope at real samples (R1) and at generated ones (R2), under which the game converges locally and it
    does not pay to drop modes; ``loss="nonsaturating", penalty=0`` is the GAN of 2014.

    Args:
        generator, critic: trained in place; at the end the generator holds the running average of its
            weights, which is smoother than any single step's.
        real: ``(N, ...)``, as the generator draws them.
        given: name -> features ``(N, T, D)`` with their masks, row by row what belongs to `real`; None for
            an unconditional game.
        steps: of each side.
        batch_size: real samples, and generated ones, a step.
        lr: of Adam, for both; falls to zero along a cosine over the last half.
        seed: of the batches and the noise. The networks come with their weights: seed before making them.
        loss: a key of ``mmbook.book.written.gan.LOSSES``.
        penalty: weight of R1 and R2, each ``penalty / 2`` times the mean squared slope; 0 for none.
        momentum: of Adam. With any, each side goes on for a while in a direction that was right against an
            opponent who has moved since, and the game may circle or collapse.
        penalty_every: compute the penalty only in each step that is a multiple of this, with that much more
            weight: it costs as much again as the rest of the critic's step (lazy regularisation, Karras et
            al. 2020, https://arxiv.org/abs/1912.04958).
        average: share of the running average that is kept a step.
        every: steps from one row of the history to the next.
        watch: called with the averaged generator for each row of the history; what it returns is added.

    Returns:
        The history, one row each `every` steps: step; critic_loss, generator_loss; real and fake, the mean
        scores; margin, their difference; right, the share of pairs that the critic puts in the right order
        (1/2 is a draw); slope, the root mean square of the critic's gradient at real samples (NaN without
        penalty); and what `watch` says. The numbers are means over the steps since the row before.

    Raises:
        ValueError: an unknown loss, or given features of another number of rows than `real`.
        FloatingPointError: a loss that is no longer finite; names the step.

    Source: Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661; Huang, Gokaslan, Kuleshov and Tompkin
    2024, https://arxiv.org/abs/2501.05441.
    """
    import pandas as pd

    if loss not in LOSSES:
        raise ValueError(f"loss is {loss!r}; choose one of {', '.join(LOSSES)}")
    for name, modality in (given or {}).items():
        if len(modality.mask) != len(real):
            raise ValueError(f"{name!r} has {len(modality.mask)} rows and the real samples {len(real)}")
    game, random = LOSSES[loss], torch.Generator().manual_seed(seed)
    smooth = copy.deepcopy(generator)
    betas = (momentum, 0.99)
    optimizers = [torch.optim.Adam(net.parameters(), lr, betas=betas) for net in (critic, generator)]
    rows, seen = [], []
    for step in range(1, steps + 1):
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = lr * _course(step / steps)
        chosen = torch.randint(len(real), (batch_size,), generator=random)
        x = real[chosen].clone()
        c = {n: Modality(m.values[chosen], m.mask[chosen]) for n, m in (given or {}).items()}
        z = torch.randn(batch_size, generator.latent, generator=random).to(real)

        # the critic's step: the generator is a given
        penalised = penalty > 0 and step % penalty_every == 0
        with torch.no_grad():
            fake = generator(z, c)
        fake.requires_grad_(penalised)
        x.requires_grad_(penalised)
        on_real, on_fake = critic(x, c), critic(fake, c)
        critic_loss = total = game.critic(on_real, on_fake)
        slope = x.new_tensor(float("nan"))
        if penalised:
            at_real, at_fake = gradient_penalty(on_real, x), gradient_penalty(on_fake, fake)
            total = critic_loss + penalty_every * penalty / 2 * (at_real + at_fake).mean()
            slope = at_real.detach().mean()
        _step(optimizers[0], total)

        # the generator's step: the critic is a given, though gradients run through it
        z = torch.randn(batch_size, generator.latent, generator=random).to(real)
        critic.requires_grad_(False)
        after = critic(generator(z, c), c)
        # a relativistic loss compares with real samples; through them runs no gradient to the generator
        generator_loss = game.generator(on_real.detach(), after)
        _step(optimizers[1], generator_loss)
        critic.requires_grad_(True)
        with torch.no_grad():
            for kept, new in zip(smooth.parameters(), generator.parameters(), strict=True):
                kept.lerp_(new, 1 - min(average, step / (step + 10)))  # young averages forget faster

        numbers = [critic_loss, generator_loss, on_real.mean(), on_fake.mean()]
        right = (on_real > on_fake).float().mean()
        seen.append(torch.stack([n.detach() for n in (*numbers, right)] + [slope]))
        if not seen[-1][:2].isfinite().all():
            raise FloatingPointError(f"a loss is no longer finite at step {step}; lower lr, or raise penalty")
        if step % every == 0 or step == steps:
            rows.append(_row(step, torch.stack(seen)) | dict(watch(smooth) if watch else {}))
            seen = []
    generator.load_state_dict(smooth.state_dict())
    return pd.DataFrame(rows)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _course(done: float) -> float:
    """Share of the learning rate: 1 for the first half, then down along a cosine."""
    return 1.0 if done < 0.5 else float((1 + torch.cos(torch.tensor((2 * done - 1) * torch.pi))) / 2)


def _row(step: int, numbers: Tensor) -> dict[str, float]:
    critic, generator, real, fake, right, slope = numbers.nanmean(dim=0).tolist()
    return {
        "step": step,
        "critic_loss": critic,
        "generator_loss": generator,
        "real": real,
        "fake": fake,
        "margin": real - fake,
        "right": right,
        "slope": slope**0.5,
    }
