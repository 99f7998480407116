"""Gradient blending and modulation: the losses and gradients of the papers, and no other change."""

import math

import numpy as np
import pytest
import torch

from mmbook import Modality, MultimodalModel, Trainer
from mmbook.data.arrays import from_arrays
from mmbook.encoders import Projected
from mmbook.fusion import build_fusion
from mmbook.heads import Classification, Regression
from mmbook.modality import collate
from mmbook.models import Blended, Features, Modulated, blend_weights

DIMS = {"a": 5, "b": 4}


def data(count=80, seed=0):
    """The label is loud in "a" and faint in "b"."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, count)
    a, b = rng.normal(size=(count, 5)), rng.normal(size=(count, 4))
    a[:, 0] += 6 * y - 3
    b[:, 0] += y
    return from_arrays({"a": a, "b": b}, y)


def model(names=tuple(DIMS), seed=0):
    torch.manual_seed(seed)
    encoders = {name: Projected(Features(DIMS[name]), 6) for name in names}
    return MultimodalModel(encoders, build_fusion("concat", dict.fromkeys(names, 6), 8), Classification(8, 2))


def gradients(loss, module):
    module.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def batch():
    return collate(list(data()))


def test_blended_is_the_weighted_sum_of_joint_and_single_losses():
    net, x = model(), batch()
    weights = {"a": 0.2, "b": 0.5, "joint": 0.3}
    blended = Blended(net, weights)
    by_hand = 0.3 * net(**x).loss
    for name in "ab":
        features = net.encoders[name](Modality(x[name], x[f"{name}_mask"]))
        by_hand = by_hand + weights[name] * blended.heads[name](features.pooled(), x["labels"]).loss
    torch.testing.assert_close(blended(**x).loss, by_hand)
    blended.eval()
    torch.testing.assert_close(blended(**x).loss, net(**x).loss)
    torch.testing.assert_close(blended(**x).logits, net(**x).logits)


def test_joint_alone_is_the_usual_training():
    net, x = model(), batch()
    ours = gradients(Blended(net, {"a": 0, "b": 0, "joint": 1})(**x).loss, net)
    usual = gradients(net(**x).loss, net)
    for name, expected in usual.items():
        torch.testing.assert_close(ours[name], expected)


def test_an_absent_modality_adds_no_loss_of_its_own():
    net, x = model(), batch()
    x["b"], x["b_mask"][:] = torch.full_like(x["b"], float("nan")), False
    blended = Blended(net)
    torch.testing.assert_close(
        blended(**x).loss, blended(**{k: v for k, v in x.items() if not k.startswith("b")}).loss
    )


def test_weights_are_gain_over_squared_overfitting():
    before = {"a": (0.7, 0.7), "b": (0.7, 0.7), "joint": (0.7, 0.7)}
    after = {"a": (0.1, 0.5), "b": (0.3, 0.5), "joint": (0.2, 0.4)}
    raw = {"a": 0.2 / 0.4**2, "b": 0.2 / 0.2**2, "joint": 0.3 / 0.2**2}
    found = blend_weights(before, after)
    for name, value in raw.items():
        assert found[name] == pytest.approx(value / sum(raw.values()))
    assert blend_weights(before, after | {"a": (0.1, 0.9)})["a"] == 0  # it got worse on new data
    assert all(math.isfinite(w) for w in blend_weights(before, dict.fromkeys(before, (0.5, 0.5))).values())


def test_modulation_slows_the_encoder_that_is_ahead_by_the_papers_factor_and_no_other():
    net, x = model(), batch()
    Trainer(net, data(), epochs=3, batch_size=20, lr=0.02, seed=0, device="cpu").fit()
    right = {}
    for name in "ab":
        logits = net(**{name: x[name], f"{name}_mask": x[f"{name}_mask"]}).logits
        right[name] = logits.softmax(1)[torch.arange(80), x["labels"]].mean().item()
    assert right["a"] > right["b"], "a was meant to be ahead"
    factor = 1 - math.tanh(0.7 * right["a"] / right["b"])
    usual = gradients(net(**x).loss, net)
    modulated = Modulated(net, alpha=0.7, noise=False)
    ours = gradients(modulated(**x).loss, net)
    assert modulated.slowed == {"a": pytest.approx(factor, rel=1e-4), "b": 1.0}
    assert ours.keys() == usual.keys()
    for name, expected in usual.items():
        scale = factor if name.startswith("encoders.a.") else 1.0
        torch.testing.assert_close(ours[name], expected * scale, rtol=1e-4, atol=1e-7)


def test_noise_has_the_spread_of_the_gradient_and_goes_to_encoders_only():
    net, x = model(), batch()
    usual = gradients(net(**x).loss, net)
    quiet = gradients(Modulated(net, noise=False)(**x).loss, net)
    torch.manual_seed(0)
    drawn = [gradients(Modulated(net)(**x).loss, net) for _ in range(200)]
    for name in usual:
        spread = torch.stack([d[name] - quiet[name] for d in drawn])
        if name.startswith("encoders"):
            torch.testing.assert_close(spread.std(), usual[name].std(), rtol=0.15, atol=0)
        else:
            torch.testing.assert_close(spread, torch.zeros_like(spread), rtol=0, atol=1e-7)


@pytest.mark.parametrize("wrap", [Blended, Modulated])
def test_the_trainer_trains_the_model_inside_and_evaluation_is_the_models(wrap):
    net = model()
    run = Trainer(wrap(net), data(), data(seed=1), epochs=10, batch_size=20, lr=0.02, seed=0, device="cpu")
    run.fit()
    plain = Trainer(net, data(), epochs=1, batch_size=20, lr=0.02, seed=0, device="cpu")
    found = run.evaluate(data(seed=2))
    assert found == pytest.approx(plain.evaluate(data(seed=2))) and found["accuracy"] > 0.95
    assert not [key for key in net.state_dict() if "heads" in key]


def test_a_lone_modality_in_the_batch_is_not_slowed():
    net, x = model(), batch()
    modulated = Modulated(net, noise=False)
    modulated(labels=x["labels"], a=x["a"]).loss.backward()
    assert modulated.slowed == {"a": 1.0, "b": 1.0}


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match="joint"):
        Blended(model(), {"a": 1.0, "b": 1.0})
    with pytest.raises(ValueError, match=r"at least two modalities \(got 1\)"):
        Modulated(model(("a",)))
    with pytest.raises(ValueError, match="Regression"):
        net = model()
        net.head = Regression(8)
        Modulated(net)
    with pytest.raises(ValueError, match="same names"):
        blend_weights({"a": (1, 1)}, {"b": (1, 1)})
    with pytest.raises(ValueError, match="no validation loss fell"):
        blend_weights({"a": (1.0, 1.0)}, {"a": (0.5, 1.5)})
