"""One step of the usual optimisers, written out: numbers in, numbers out, nothing kept behind the scenes.

To read and to compare with; training uses torch.optim. Everywhere w is a parameter of any shape and g the
gradient of the loss with respect to it. The state begins as zeros.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


def sgd(w: Tensor, g: Tensor, lr: float) -> Tensor:
    """Stochastic gradient descent: ``w - lr g``.

    Source: Robbins and Monro (1951), https://doi.org/10.1214/aoms/1177729586.
    """
    return w - lr * g


class Moved(NamedTuple):
    """A parameter after a step with momentum, and its new velocity."""

    w: Tensor
    v: Tensor


def momentum(w: Tensor, g: Tensor, v: Tensor, lr: float, mu: float = 0.9, nesterov: bool = False) -> Moved:
    """``v' = mu v + g``, ``w' = w - lr v'``: a ball that rolls and does not turn at once.

    Under a constant gradient the step grows to ``lr g / (1 - mu)``. The learning rate stands in front of the
    velocity, as in torch.optim.SGD, and not inside it: a change of rate then acts at once.

    Args:
        w, g, v: parameter, gradient, velocity.
        lr: learning rate.
        mu: share of the velocity that stays, in [0, 1).
        nesterov: look one step ahead: ``w' = w - lr (g + mu v')``.

    Source: Polyak (1964), https://doi.org/10.1016/0041-5553(64)90137-5; in this form Sutskever et al. (2013),
    https://proceedings.mlr.press/v28/sutskever13.html.
    """
    v = mu * v + g
    return Moved(w - lr * (g + mu * v if nesterov else v), v)


class Adapted(NamedTuple):
    """A parameter after a step of Adam, and the new running means of its gradient and of the square of it."""

    w: Tensor
    m: Tensor
    v: Tensor


def adam(
    w: Tensor,
    g: Tensor,
    m: Tensor,
    v: Tensor,
    t: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> Adapted:
    """``w - lr m̂ / (sqrt(v̂) + eps)``, with running means m of g and v of g², corrected for their start.

    The weights of the t gradients in m sum to ``1 - beta ** t`` and not to 1; dividing by that sum
    makes the mean unbiased. So the very first step is ``lr`` times the sign of the gradient.

    Args:
        w, g, m, v: parameter, gradient, running means.
        t: number of this step, from 1.
        lr: learning rate; about the size of a step, whatever the size of the gradient.
        betas: shares of the two means that stay, each in [0, 1).
        eps: in the denominator, where a gradient is zero.

    Raises:
        ValueError: `t` below 1, where the correction would divide by zero.

    Source: Kingma and Ba (2015), https://arxiv.org/abs/1412.6980.
    """
    if t < 1:
        raise ValueError(f"t is {t}; it counts the steps from 1")
    m = betas[0] * m + (1 - betas[0]) * g
    v = betas[1] * v + (1 - betas[1]) * g * g
    unbiased_m, unbiased_v = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
    return Adapted(w - lr * unbiased_m / (unbiased_v.sqrt() + eps), m, v)


def adamw(
    w: Tensor,
    g: Tensor,
    m: Tensor,
    v: Tensor,
    t: int,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.01,
) -> Adapted:
    """`adam` on a parameter that first shrinks by ``lr * weight_decay`` of itself.

    Added to the loss, a penalty on w² would be divided by ``sqrt(v̂)`` like every gradient, and weights with
    large gradients would hardly decay. Here all decay alike.

    Source: Loshchilov and Hutter (2019), https://arxiv.org/abs/1711.05101.
    """
    return adam((1 - lr * weight_decay) * w, g, m, v, t, lr, betas, eps)
