"""The optimisers written out take the same hundred steps as torch.optim."""

import pytest
import torch

from mmbook.book.written import optimizers

LR = 0.05


def valley(w):
    """A loss with steep and flat directions, and not quadratic."""
    steep = torch.tensor([100.0, 10, 1, 0.1], dtype=torch.float64)
    return (steep * w**2).sum() + torch.logsumexp(w, 0) + (w**4).sum()


def slope(w):
    w = w.detach().requires_grad_()
    return torch.autograd.grad(valley(w), w)[0]


START = torch.tensor([0.3, -0.5, 1.0, 2.0], dtype=torch.float64)


def sgd(w, state, t):
    return optimizers.sgd(w, slope(w), 1e-3), state


def momentum(w, state, t, nesterov=False):
    w, v = optimizers.momentum(w, slope(w), *state, lr=1e-3, mu=0.9, nesterov=nesterov)
    return w, (v,)


def nesterov(w, state, t):
    return momentum(w, state, t, nesterov=True)


def adam(w, state, t):
    w, *state = optimizers.adam(w, slope(w), *state, t, LR, (0.8, 0.95), 1e-6)
    return w, state


def adamw(w, state, t):
    w, *state = optimizers.adamw(w, slope(w), *state, t, LR, weight_decay=0.1)
    return w, state


PAIRS = {
    "sgd": (sgd, 0, lambda p: torch.optim.SGD(p, 1e-3)),
    "momentum": (momentum, 1, lambda p: torch.optim.SGD(p, 1e-3, momentum=0.9)),
    "nesterov": (nesterov, 1, lambda p: torch.optim.SGD(p, 1e-3, momentum=0.9, nesterov=True)),
    "adam": (adam, 2, lambda p: torch.optim.Adam(p, LR, (0.8, 0.95), 1e-6)),
    "adamw": (adamw, 2, lambda p: torch.optim.AdamW(p, LR, weight_decay=0.1)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_hundred_steps_equal_those_of_torch(name):
    ours, kept, theirs = PAIRS[name]
    w, state = START, tuple(torch.zeros_like(START) for _ in range(kept))
    parameter = START.clone().requires_grad_()
    optimizer = theirs([parameter])
    for t in range(1, 101):
        optimizer.zero_grad()
        valley(parameter).backward()
        optimizer.step()
        w, state = ours(w, state, t)
        torch.testing.assert_close(w, parameter.detach(), rtol=0, atol=1e-12)
    assert valley(w) < valley(START)


def test_the_first_step_of_adam_is_the_sign_times_the_rate():
    g, zero = torch.tensor([1e-3, -5.0, 1e6], dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    moved = optimizers.adam(zero, g, zero, zero, 1, LR, eps=0.0).w
    torch.testing.assert_close(moved, -LR * g.sign(), rtol=0, atol=1e-15)


def test_momentum_reaches_its_limit_under_a_constant_gradient():
    w = v = torch.zeros((), dtype=torch.float64)
    g = torch.tensor(2.0, dtype=torch.float64)
    for _ in range(400):
        before, (w, v) = w, optimizers.momentum(w, g, v, LR, mu=0.9)
    torch.testing.assert_close(before - w, LR * g / (1 - 0.9))


def test_decay_is_the_same_for_every_size_of_gradient():
    """Without any signal but its own size, a weight decays at one rate; a penalty inside Adam would not."""
    w = torch.tensor([1.0, 1.0], dtype=torch.float64)
    g, zero = torch.tensor([1e-3, 1e3], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    with_decay = optimizers.adamw(w, g, zero, zero, 1, LR, weight_decay=0.5).w
    without = optimizers.adamw(w, g, zero, zero, 1, LR, weight_decay=0.0).w
    torch.testing.assert_close(without - with_decay, torch.full_like(w, LR * 0.5))


def test_steps_count_from_one():
    w = torch.zeros(1)
    with pytest.raises(ValueError, match="t is 0.*from 1"):
        optimizers.adam(w, w, w, w, 0, LR)
