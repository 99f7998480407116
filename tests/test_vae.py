"""The VAE: its bound against densities that are known exactly, and what it makes of gaps."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from mmbook import Modality, Trainer
from mmbook.book.written.drawing import DrawingNet, PictureNet
from mmbook.data import from_arrays
from mmbook.generate import VAE, Condition, VectorNet, kl_to_standard_normal
from mmbook.registry import build

NOISE, WEIGHT = 0.5, torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.5]])  # orthogonal columns
SHIFT = torch.tensor([0.3, -0.2, 1.0])


def test_kl_is_that_of_torch_distributions():
    torch.manual_seed(0)
    mean, log_variance = torch.randn(50, 4).double(), torch.randn(50, 4).double()
    normal = Normal(mean, (log_variance / 2).exp())
    known = kl_divergence(normal, Normal(torch.zeros_like(mean), torch.ones_like(mean))).sum(dim=1)
    torch.testing.assert_close(kl_to_standard_normal(mean, log_variance), known)


class Posterior(nn.Module):
    """The true posterior of the linear model: diagonal, since the columns are orthogonal."""

    config = None  # not saved

    def forward(self, x, c):
        precision = 1 + WEIGHT.square().sum(dim=0) / NOISE**2
        mean = (x - SHIFT) @ WEIGHT / NOISE**2 / precision
        return torch.cat([mean, -precision.log().expand_as(mean)], dim=1)


class Linear(nn.Module):
    config = None

    def forward(self, z, c):
        return z @ WEIGHT.T + SHIFT


def linear_vae(encoder):
    vae = VAE(encoder, Linear(), latent=2, target="x")
    with torch.no_grad():
        vae.log_noise.fill_(math.log(NOISE))
    return vae


EXACT = MultivariateNormal(SHIFT, WEIGHT @ WEIGHT.T + NOISE**2 * torch.eye(3))


def test_the_bound_is_tight_at_the_true_posterior_and_a_bound_elsewhere():
    torch.manual_seed(0)
    x = torch.tensor([1.0, -0.5, 0.7]).expand(40_000, 3)
    found = linear_vae(Posterior()).bound(x, x.new_zeros(len(x), 0))
    values = found.misfit + found.kl
    error = values.std() / len(x) ** 0.5
    assert abs(values.mean() + EXACT.log_prob(x[0])) < 5 * error

    class Shifted(Posterior):
        def forward(self, x, c):
            return super().forward(x, c) + torch.tensor([0.5, 0.0, 0.0, 0.0])

    worse = linear_vae(Shifted()).bound(x, x.new_zeros(len(x), 0))
    # the bound is lost by KL(q || posterior): here half the squared shift in standard deviations
    gap = 0.5**2 / 2 * (1 + WEIGHT[:, 0].square().sum() / NOISE**2)
    torch.testing.assert_close(worse.loss - values.mean(), gap, rtol=0, atol=20 * error.item())


def test_samples_have_the_density_that_the_model_states():
    torch.manual_seed(0)
    drawn = linear_vae(Posterior()).sample({}, 40_000)
    torch.testing.assert_close(drawn.mean(dim=0), EXACT.mean, rtol=0, atol=0.06)
    torch.testing.assert_close(drawn.T.cov(), EXACT.covariance_matrix, rtol=0.05, atol=0.06)


def test_the_draw_passes_gradients_to_mean_and_variance():
    """Reparameterised: E[z²] = mean² + variance, whose gradients are 2 mean and variance."""
    torch.manual_seed(0)
    numbers = torch.tensor([0.8, math.log(0.36)], requires_grad=True)

    class Given(nn.Module):
        config = None

        def forward(self, x, c):
            return numbers.expand(len(x), 2)

    class Itself(nn.Module):
        config = None

        def forward(self, z, c):
            return z

    vae = VAE(Given(), Itself(), latent=1, target="x", beta=0.0)
    x = torch.zeros(200_000, 1)
    vae.bound(x, x[:, :0]).loss.backward()  # noise 1 and x 0: the loss is E[z²] / 2, and a constant
    torch.testing.assert_close(numbers.grad, torch.tensor([0.8, 0.18]), rtol=0, atol=0.02)


def test_the_learned_noise_is_the_root_mean_squared_error():
    torch.manual_seed(0)
    vae = VAE(VectorNet(3, 4), VectorNet(2, 3), latent=2, target="x")
    x, c = torch.randn(100, 3), torch.zeros(100, 0)
    torch.manual_seed(1)
    guess = vae.bound(x, c).logits
    with torch.no_grad():
        vae.log_noise.copy_((x - guess).square().mean().sqrt().log())
    torch.manual_seed(1)
    vae.bound(x, c).loss.backward()
    assert abs(vae.log_noise.grad) < 1e-3


def conditional():
    torch.manual_seed(0)
    return VAE(VectorNet(3, 4, 8), VectorNet(2, 3, 8), 2, "x", Condition({"a": 5, "b": 4}, 8))


def batch():
    torch.manual_seed(1)
    there = torch.tensor([[True], [True], [False], [True]])
    return {
        "x": torch.randn(4, 1, 3),
        "x_mask": there,
        "a": torch.randn(4, 2, 5),
        "a_mask": torch.tensor([[True, True], [False, False], [True, False], [True, True]]),
        "b": torch.randn(4, 1, 4),
        "labels": torch.zeros(4),
    }


def test_rows_without_the_target_change_nothing():
    vae, rows = conditional(), batch()
    torch.manual_seed(2)
    one = vae(**rows)
    torch.testing.assert_close(one.loss, (one.misfit + one.kl)[[0, 1, 3]].mean())
    rows["x"][2] = float("nan")
    torch.manual_seed(2)
    assert vae(**rows).loss == one.loss
    rows["x_mask"][:] = False
    nothing = vae(**rows).loss
    nothing.backward()
    assert nothing == 0 and all(p.grad is not None and not p.grad.any() for p in vae.parameters())


def test_any_subset_may_be_given():
    vae, rows = conditional(), batch()
    a, b = (Modality(rows[n], rows.get(f"{n}_mask", torch.ones(4, 1, dtype=torch.bool))) for n in "ab")
    for given in ({"a": a}, {"b": b}, {"a": a, "b": b}):
        assert vae.sample(given).shape == (4, 3) and vae.sample(given).isfinite().all()
    assert vae.sample({}, count=2).isfinite().all()
    once, again = (vae.sample({"a": a}, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    torch.testing.assert_close(once, again, rtol=0, atol=0)


def test_it_trains_and_learns_a_density():
    """Two bumps at -2 and 2: one normal density could not have both."""
    torch.manual_seed(0)
    x = 4 * torch.randint(2, (2000, 1)) - 2 + 0.3 * torch.randn(2000, 1)
    vae = VAE(VectorNet(1, 4), VectorNet(2, 1), 2, "x")
    data = from_arrays({"x": x}, torch.zeros(2000))
    history = Trainer(vae, data, epochs=10, batch_size=100, lr=1e-2, seed=0, progress=False).fit()
    exact = math.log(2) + math.log(0.3) + math.log(2 * math.pi * math.e) / 2  # entropy of the data, in nats
    assert history.loss.iloc[0] > history.loss.iloc[-1] > exact - 0.05  # it is a bound
    drawn = vae.sample({}, 4000)[:, 0]
    assert abs(drawn.mean()) < 0.5 and abs(drawn.abs().mean() - 2) < 0.5
    # a normal density of the same mean and variance has 0.38 there
    assert (drawn.abs() < 1).float().mean() < 0.25


def test_pictures_and_config():
    vae = VAE(PictureNet(8, 16), DrawingNet(4, 16), 4, "image", Condition({"audio": 6}, 16))
    again = build(vae.config)
    again.load_state_dict(vae.state_dict())
    image, audio = torch.rand(2, 1, 1, 32, 32), torch.randn(2, 3, 6)
    torch.manual_seed(0)
    one = vae(image=image, audio=audio)
    torch.manual_seed(0)
    torch.testing.assert_close(again(image=image, audio=audio).loss, one.loss)
    assert one.logits.shape == (2, 1, 32, 32)


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match="no 'x'"):
        conditional()(a=torch.randn(2, 1, 5))
    with pytest.raises(ValueError, match="'smell'"):
        conditional()(x=torch.randn(2, 1, 3), smell=torch.randn(2, 1, 5))
    with pytest.raises(ValueError, match="count="):
        conditional().sample({})
    with pytest.raises(ValueError, match="3 samples.*'a': 2"):
        conditional().sample({"a": Modality(torch.randn(2, 1, 5), torch.ones(2, 1).bool())}, 3)
