"""The GAN: its losses against the theory, its penalty against the definition, the game on known data."""

import math

import pytest
import torch
from torch import nn

from mmbook import Modality
from mmbook.book.written.drawing import DrawingNet, PictureNet
from mmbook.book.written.fit_gan import fit_gan
from mmbook.book.written.gan import LOSSES, Critic, Generator, gradient_penalty
from mmbook.book.written.mode_coverage import mode_coverage
from mmbook.generate import Condition, VectorNet
from mmbook.registry import build

# Two distributions over four places, as counts of 100.
REAL, FAKE = torch.tensor([40, 30, 20, 10]), torch.tensor([10, 20, 30, 40])


def test_the_best_critic_is_the_log_ratio_and_its_loss_the_jensen_shannon_divergence():
    best = (REAL / FAKE).log().requires_grad_()
    loss = LOSSES["saturating"].critic(best.repeat_interleave(REAL), best.repeat_interleave(FAKE))
    (slope,) = torch.autograd.grad(loss, best)
    torch.testing.assert_close(slope, torch.zeros(4), rtol=0, atol=1e-7)
    p, q = REAL / 100, FAKE / 100
    middle = (p + q) / 2
    shannon = ((p * (p / middle).log()).sum() + (q * (q / middle).log()).sum()) / 2
    torch.testing.assert_close(loss.detach(), 2 * math.log(2) - 2 * shannon)


@pytest.mark.parametrize("name", LOSSES)
def test_both_sides_pull_the_scores_the_right_way(name):
    real, fake = torch.randn(2, 50, generator=torch.Generator().manual_seed(0)).unbind()
    real, fake = real.requires_grad_(), fake.requires_grad_()
    on_real, on_fake = torch.autograd.grad(LOSSES[name].critic(real, fake), (real, fake))
    assert (on_real <= 0).all() and (on_fake >= 0).all() and on_real.any() and on_fake.any()
    (on_fake,) = torch.autograd.grad(LOSSES[name].generator(real, fake), fake)
    assert (on_fake < 0).all()  # the generator's loss falls as its samples look more real


def test_where_the_critic_is_sure_only_the_saturating_loss_has_no_gradient():
    slopes = {}
    for name, game in LOSSES.items():
        fake = torch.tensor([-12.0], requires_grad=True)
        (slopes[name],) = torch.autograd.grad(game.generator(torch.tensor([12.0]), fake), fake)
    assert slopes.pop("saturating").abs() < 1e-5
    assert all(slope < -0.99 for slope in slopes.values())


def test_relativistic_scores_have_no_zero():
    real, fake = torch.randn(2, 20).unbind()
    for side in LOSSES["relativistic"]:
        torch.testing.assert_close(side(real + 7, fake + 7), side(real, fake))


def test_gradient_penalty_is_the_squared_norm_of_each_row_s_jacobian():
    torch.manual_seed(0)
    critic = Critic(PictureNet(16))
    x = torch.randn(3, 1, 32, 32, requires_grad=True)
    found = gradient_penalty(critic(x, {}), x)
    for i in range(3):
        jacobian = torch.autograd.functional.jacobian(lambda row: critic(row[None], {})[0], x[i].detach())
        torch.testing.assert_close(found[i].detach(), jacobian.square().sum())
    found.mean().backward()  # and it can be trained on
    assert all(p.grad is not None and p.grad.any() for n, p in critic.named_parameters() if "weight" in n)


def test_spectral_norm_bounds_every_layer():
    torch.manual_seed(0)
    critic = Critic(VectorNet(3, 8, hidden=(16,)), spectral=True)
    for _ in range(50):  # the largest singular value is found by power iteration, a step a call
        critic(torch.randn(4, 3), {})
    for layer in critic.net.layers:
        if isinstance(layer, nn.Linear):
            assert abs(torch.linalg.matrix_norm(layer.weight, 2) - 1) < 0.02


def test_the_critic_judges_the_fit_to_what_is_given():
    torch.manual_seed(0)
    critic = Critic(VectorNet(3, 8), Condition({"a": 4}, 8))
    x, there = torch.randn(5, 3), torch.ones(5, 1, dtype=torch.bool)
    a, b = (critic(x, {"a": Modality(torch.randn(5, 1, 4), there)}) for _ in range(2))
    assert (a - b).abs().min() > 1e-4
    with pytest.raises(ValueError, match="width 6; the net needs 8"):
        Critic(VectorNet(3, 8), Condition({"a": 4}, 6))


def test_shapes_config_and_repeatable_draws():
    generator = Generator(DrawingNet(4, 6), 4, Condition({"audio": 5}, 6))
    again = build(generator.config)
    again.load_state_dict(generator.state_dict())
    given = {"audio": Modality(torch.randn(3, 2, 5), torch.ones(3, 2, dtype=torch.bool))}
    one, two = (g.sample(given, generator=torch.Generator().manual_seed(0)) for g in (generator, again))
    assert one.shape == (3, 1, 32, 32)
    torch.testing.assert_close(one, two, rtol=0, atol=0)


def ring(n, seed):
    angle = torch.arange(8) * math.pi / 4
    centres = 2 * torch.stack([angle.cos(), angle.sin()], dim=1)
    random = torch.Generator().manual_seed(seed)
    which = torch.randint(8, (n,), generator=random)
    return centres, centres[which] + 0.1 * torch.randn(n, 2, generator=random)


def players(seed=0):
    torch.manual_seed(seed)
    return Generator(VectorNet(4, 2, hidden=(64, 64, 64)), 4), Critic(VectorNet(2, 64))


def test_the_stable_game_finds_all_modes_of_a_ring():
    centres, real = ring(4000, 0)
    generator, critic = players()
    watch = {"watch": lambda g: {"mean": float(g.sample({}, 100).mean())}}
    history = fit_gan(
        generator,
        critic,
        real,
        steps=400,
        batch_size=128,
        lr=2e-3,
        seed=0,
        penalty=0.1,
        average=0.98,
        **watch,
    )
    assert history.step.tolist() == [100, 200, 300, 400]
    assert history.drop(columns="mean").notna().all().all() and "mean" in history
    drawn = generator.sample({}, 500, generator=torch.Generator().manual_seed(0))
    assert mode_coverage(ring(1000, 1)[1], drawn, centres, radius=0.4).covered >= 7


def test_a_conditional_game_learns_what_is_given():
    torch.manual_seed(0)
    side = torch.randint(2, (1000,))
    a = nn.functional.one_hot(side, 2).float()[:, None]
    given = {"a": Modality(a, torch.ones(1000, 1, dtype=torch.bool))}
    real = (4 * side - 2)[:, None] + 0.3 * torch.randn(1000, 1)
    generator = Generator(VectorNet(2, 1, 8), 2, Condition({"a": 2}, 8))
    critic = Critic(VectorNet(1, 32, hidden=(32,)), Condition({"a": 2}, 32))
    fit_gan(generator, critic, real, given, steps=300, batch_size=128, lr=5e-3, seed=0, penalty=0.1)
    drawn = generator.sample(given)
    for which in (0, 1):
        assert abs(drawn[side == which].mean() - (4 * which - 2)) < 0.5


def test_the_same_seed_is_the_same_game_and_a_lazy_penalty_is_computed_now_and_then():
    _, real = ring(500, 0)
    games = []
    for _ in range(2):
        generator, critic = players()
        options = {"steps": 10, "batch_size": 32, "lr": 1e-3, "seed": 3, "penalty_every": 4, "every": 2}
        games.append((fit_gan(generator, critic, real, **options), generator.state_dict()))
    assert games[0][0].equals(games[1][0])
    assert all(torch.equal(a, b) for a, b in zip(games[0][1].values(), games[1][1].values(), strict=True))
    assert games[0][0].slope.isna().tolist() == [True, False, True, False, True]


def test_errors_name_what_is_wrong():
    generator, critic = players()
    options = {"steps": 3, "batch_size": 8, "lr": 1e-3, "seed": 0}
    with pytest.raises(ValueError, match="'wasserstein'.*saturating, nonsaturating, hinge, relativistic"):
        fit_gan(generator, critic, torch.randn(9, 2), loss="wasserstein", **options)
    given = {"a": Modality(torch.randn(4, 1, 3), torch.ones(4, 1, dtype=torch.bool))}
    with pytest.raises(ValueError, match="'a' has 4 rows and the real samples 9"):
        fit_gan(generator, critic, torch.randn(9, 2), given, **options)
    with pytest.raises(FloatingPointError, match="step 1"):
        fit_gan(generator, critic, torch.full((9, 2), float("inf")), **options)
