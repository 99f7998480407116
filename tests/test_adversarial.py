"""A GAN under the trainer: equal to the loop by hand, resumed bit by bit, and it learns."""

import math

import pytest
import torch
from torch import nn

from mmbook import Trainer, collate
from mmbook.book.written.gan import LOSSES, Adversarial, Critic, Generator, gradient_penalty
from mmbook.book.written.mode_coverage import mode_coverage
from mmbook.data import from_arrays
from mmbook.generate import Condition, VectorNet
from mmbook.modality import group

PLAIN = {"schedule": "constant", "warmup": 0.0, "clip": None, "weight_decay": 0.0, "progress": False}
OPTIONS = {"batch_size": 64, "seed": 3, "optimizer": "adam", "betas": (0.0, 0.99), "device": "cpu", **PLAIN}


def ring(n, seed):
    angle = torch.arange(8) * math.pi / 4
    random = torch.Generator().manual_seed(seed)
    which = torch.randint(8, (n,), generator=random)
    places = 2 * torch.stack([angle.cos(), angle.sin()], dim=1)
    return places[which] + 0.1 * torch.randn(n, 2, generator=random), which


def rows(n=2000, seed=0):
    """Points on a ring; what is given tells the half of the ring, where it is there."""
    x, which = ring(n, seed)
    side = nn.functional.one_hot(which // 4, 2).float()
    return from_arrays({"point": x, "side": side}, which, lengths={"side": (torch.arange(n) % 3 > 0).long()})


def game(seed=0, given=True, **options):
    torch.manual_seed(seed)
    dims = {"side": 2} if given else {}
    generator = Generator(VectorNet(4, 2, 16 if given else 0, hidden=(64, 64)), 4, Condition(dims, 16))
    return Adversarial(generator, Critic(VectorNet(2, 64), Condition(dims, 64)), "point", **options)


def test_the_trainer_plays_the_game_written_out_by_hand():
    data, ours, theirs = rows(160), game(penalty=0.3), game(penalty=0.3)
    run = Trainer(ours, data, epochs=2, lr=1e-3, **OPTIONS)
    run.fit()
    torch.manual_seed(3)
    sides = {"critic": theirs.critic, "generator": theirs.generator}
    adams = {n: torch.optim.Adam(side.parameters(), 1e-3, betas=(0.0, 0.99)) for n, side in sides.items()}
    rule = LOSSES["relativistic"]
    feed = run._loader(data, shuffle=True)
    for epoch in range(2):
        for step in feed.steps(epoch):
            parts = group({k: v for k, v in step.batch.items() if k != "labels"}, ["point", "side"])
            x, given = parts["point"].values[:, 0], {"side": parts["side"]}
            real = x.clone().requires_grad_()
            fake = theirs.generator(torch.randn(len(x), 4), given).detach().requires_grad_()
            on_real, on_fake = theirs.critic(real, given), theirs.critic(fake, given)
            steep = gradient_penalty(on_real, real) + gradient_penalty(on_fake, fake)
            adams["critic"].zero_grad()
            (rule.critic(on_real, on_fake) + 0.3 / 2 * steep.mean()).backward()
            adams["critic"].step()
            drawn = theirs.critic(theirs.generator(torch.randn(len(x), 4), given), given)
            adams["generator"].zero_grad()
            rule.generator(theirs.critic(x, given), drawn).backward()
            adams["generator"].step()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)


def test_each_turn_leaves_the_other_side_without_a_gradient():
    model, batch = game(), collate([rows(9)[i] for i in range(9)])
    for turn, side in model.turns.items():
        model.zero_grad()
        model(turn=turn, **batch).loss.backward()
        assert all(p.grad is not None for p in side.parameters())
        assert all(
            p.grad is None for name, other in model.turns.items() if name != turn for p in other.parameters()
        )


@pytest.mark.parametrize("turn", ["critic", "generator"])
def test_rows_without_the_target_count_nothing(turn):
    model, batch = game(), collate([rows(9)[i] for i in range(9)])
    batch["point_mask"] = torch.arange(9)[:, None] < 6
    batch["point"][6:] = float("nan")
    torch.manual_seed(0)
    some = model(turn=turn, **batch).loss
    torch.manual_seed(0)
    first = model(turn=turn, **{name: value[:6] for name, value in batch.items()}).loss
    torch.testing.assert_close(some, first, rtol=0, atol=0)
    batch["point_mask"][:] = False
    loss = model(turn=turn, **batch).loss
    loss.backward()
    assert loss == 0
    assert all(p.grad is not None and not p.grad.any() for p in model.turns[turn].parameters())


def test_a_broken_game_goes_on_bit_by_bit(tmp_path):
    class Enough(Exception):
        pass

    class Break:
        def __getattr__(self, name):
            return lambda trainer, row=None: self.stop(row) if name == "on_step" else None

        def stop(self, row):
            if row["step"] == 7:
                raise Enough

    data = rows(160)
    whole, broken, again = game(), game(), game(1)
    settings = OPTIONS | {"epochs": 4, "lr": 1e-3, "ema": 0.9}
    Trainer(whole, data, **settings).fit()
    saved = settings | {"output_dir": tmp_path, "save_every": 2}
    with pytest.raises(Enough):
        Trainer(broken, data, callbacks=[Break()], **saved).fit()
    Trainer(again, data, resume=True, **saved).fit()
    for p, q in zip(whole.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=0)


def test_it_finds_all_places_and_heeds_what_is_given():
    model = game(penalty=0.1)
    settings = OPTIONS | {"batch_size": 128, "schedule": "cosine", "ema": 0.98}
    history = Trainer(model, rows(4000), epochs=14, lr=3e-3, **settings).fit()
    assert {"critic_loss", "generator_loss"} <= set(history)
    test = rows(1000, seed=1)
    batch = collate([test[i] for i in range(len(test))])
    given = {"side": group({k: batch[k] for k in ("side", "side_mask")}, ["side"])["side"]}
    drawn = model.generator.sample(given, generator=torch.Generator().manual_seed(0))
    assert mode_coverage(ring(2000, 1)[0], drawn, ring_places(), radius=0.4).covered >= 7
    told = batch["side_mask"][:, 0]
    right = ((drawn[:, 1] > -0.7) == (batch["side"][:, 0, 0] > 0))[told]
    assert right.float().mean() > 0.8 > (drawn[~told, 1] > 0).float().mean() > 0.2


def ring_places():
    angle = torch.arange(8) * math.pi / 4
    return 2 * torch.stack([angle.cos(), angle.sin()], dim=1)


def test_errors_name_what_is_allowed():
    batch = collate([rows(9)[i] for i in range(9)])
    with pytest.raises(ValueError, match="wasserstein.*relativistic"):
        game(loss="wasserstein")
    with pytest.raises(ValueError, match="-1.*0 or more"):
        game(penalty=-1)
    with pytest.raises(ValueError, match="turn is 'both'.*critic, generator"):
        game()(turn="both", **batch)
    with pytest.raises(ValueError, match="no 'point'"):
        game()(turn="critic", side=batch["side"])
    with pytest.raises(ValueError, match="same modalities.*side.*nothing"):
        Adversarial(game().generator, game(given=False).critic, "point")
