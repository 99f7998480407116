"""The fusion contract of CONTRIBUTING.md, over every entry of FUSIONS and every way to fill a gap.

tests/test_fusion_mutations.py shows that these functions catch the mistakes that fusion code is known for.
"""

import itertools
import json

import pytest
import torch

from mmbook import Modality
from mmbook.fusion import FUSIONS, build_fusion
from mmbook.registry import build

DIMS = {"text": 6, "image": 5, "audio": 4}

# Parameters whose gradient is provably zero, with the reason. (The keys of our attention have no bias, which
# would be one of them: it adds the same number to all scores of a query.)
ZERO_GRADIENT = {"no bottleneck": {"shared"}}  # has no numbers: there are no bottleneck tokens

# Those that give no weights: a mean counts every token alike; a layer that reads vectors end to end, or
# products of them, gives no share to a modality; and in a stack of attention layers every token has mixed
# with others.
NO_WEIGHTS = {"concat", "mean", "late", "tensor", "low_rank", "bilinear", "film"}
NO_WEIGHTS |= {"self_attention", "cross_attention", "bottleneck"}

OTHERS = {
    "a set": ("self_attention", {"positions": "none"}),
    "in time": ("self_attention", {"positions": "time"}),
    "class token": ("self_attention", {"pooling": "class"}),
    "crossed twice": ("cross_attention", {"layers": 2, "positions": "time"}),
    "bottleneck as in the paper": ("bottleneck", {"sees": "modality"}),
    "no bottleneck": ("bottleneck", {"sees": "all", "bottlenecks": 0}),
    # dropout is off in evaluation, where the contract holds; its training is tested below
    **{f"{name} with dropout": (name, {"dropout": 0.3, "modality_dropout": 0.3}) for name in FUSIONS},
}
FILLED = {
    f"{name}, {missing}": (name, {"missing": missing})
    for name in FUSIONS
    for missing in ("zeros", "mean", "learned")
}
VARIANTS = {name: (name, {}) for name in FUSIONS} | OTHERS | FILLED

every_variant = pytest.mark.parametrize("name", VARIANTS)
every_fusion = pytest.mark.parametrize("name", [*FUSIONS, *list(OTHERS)[:6], *list(FILLED)[:3]])


def make(name, seed=0):
    key, options = VARIANTS[name]
    torch.manual_seed(seed)
    fusion = build_fusion(key, DIMS, 8, **options)
    if options.get("missing") == "mean":
        fusion.train()(inputs(seed=99))  # for a mean that is not zero
    return fusion.eval()


def inputs(batch=4, lengths=(5, 3, 7), seed=0, dims=DIMS):
    """Random features, padded at random; row 1 lacks the image, row 2 lacks text and audio."""
    g = torch.Generator().manual_seed(seed)
    made = {}
    for (name, dim), steps in zip(dims.items(), itertools.cycle(lengths)):
        real = torch.randint(1, steps + 1, (batch, 1), generator=g)
        mask = torch.arange(steps) < real
        made[name] = Modality(torch.randn(batch, steps, dim, generator=g), mask)
    for name, row in (("image", 1), ("text", 2), ("audio", 2)):
        if row < batch and name in made:
            made[name].mask[row] = False
    return made


@every_variant
@pytest.mark.parametrize("junk", [float("nan"), float("inf"), -1e30])
def test_values_under_the_mask_are_never_read(name, junk):
    fusion, x = make(name), inputs()
    dirty = {n: Modality(m.values.masked_fill(~m.mask[..., None], junk), m.mask) for n, m in x.items()}
    torch.testing.assert_close(fusion(dirty), fusion(x), rtol=0, atol=0)


@every_variant
def test_adding_padding_changes_nothing(name):
    fusion, x = make(name), inputs()
    longer = {
        n: Modality(
            torch.cat([m.values, torch.full((4, 3, DIMS[n]), 9.0)], dim=1),
            torch.cat([m.mask, torch.zeros(4, 3, dtype=torch.bool)], dim=1),
        )
        for n, m in x.items()
    }
    torch.testing.assert_close(fusion(longer), fusion(x), rtol=1e-5, atol=1e-6)


@every_variant
@pytest.mark.parametrize("kept", [("text",), ("image",), ("audio",), ("text", "audio"), ("image", "audio")])
def test_a_modality_absent_from_the_batch_is_one_missing_in_every_row(name, kept):
    fusion, x = make(name), inputs()
    masked = {n: m if n in kept else Modality(m.values, torch.zeros_like(m.mask)) for n, m in x.items()}
    absent = fusion({n: x[n] for n in kept})
    assert absent.isfinite().all()
    torch.testing.assert_close(absent, fusion(masked), rtol=1e-5, atol=1e-6)


@every_variant
def test_a_row_does_not_depend_on_the_others(name):
    fusion, x = make(name), inputs()
    whole = fusion(x)
    for i in range(4):
        alone = fusion({n: Modality(m.values[i : i + 1], m.mask[i : i + 1]) for n, m in x.items()})
        torch.testing.assert_close(alone[0], whole[i], rtol=1e-5, atol=1e-6)


@every_variant
def test_a_row_with_nothing_at_all_is_finite(name):
    x = inputs()
    for m in x.values():
        m.mask[0] = False
    fused, weights = make(name)(x, return_weights=True)
    assert fused.isfinite().all()
    if name not in FILLED:  # else something stands in every gap, and the weights count it
        assert all(w[0].eq(0).all() for w in weights.values())


@every_variant
def test_order_of_the_dict_does_not_matter(name):
    fusion, x = make(name), inputs()
    backwards = dict(reversed(x.items()))
    torch.testing.assert_close(fusion(backwards), fusion(x), rtol=0, atol=0)


@every_variant
def test_every_parameter_is_saved_and_gets_a_gradient(name):
    fusion = make(name).double()
    x = {n: Modality(m.values.double(), m.mask) for n, m in inputs(batch=8).items()}
    fusion(x).pow(2).sum().backward()
    assert set(dict(fusion.named_parameters())) <= set(fusion.state_dict())
    dead = {n for n, p in fusion.named_parameters() if p.grad is None or not p.grad.abs().gt(1e-12).any()}
    assert dead == ZERO_GRADIENT.get(name, set())


@every_variant
def test_the_saved_state_is_the_whole_fusion(name):
    """Nothing that decides the output is kept elsewhere, such as factors in a plain list."""
    one, other = make(name, seed=0), make(name, seed=1)
    assert not torch.equal(one(inputs()), other(inputs()))
    other.load_state_dict(one.state_dict(), strict=True)
    torch.testing.assert_close(other(inputs()), one(inputs()), rtol=0, atol=0)


@every_variant
def test_the_config_is_json_and_builds_an_equal_fusion(name):
    fusion = make(name)
    again = build(json.loads(json.dumps(fusion.config))).eval()
    assert again.config == fusion.config and (again.dims, again.out_dim) == (DIMS, 8)
    again.load_state_dict(fusion.state_dict(), strict=True)
    torch.testing.assert_close(again(inputs()), fusion(inputs()), rtol=0, atol=0)


@every_variant
def test_an_absent_modality_still_touches_its_parameters(name):
    fusion = make(name)
    fusion({"text": inputs()["text"]}).sum().backward()
    assert [n for n, p in fusion.named_parameters() if p.grad is None] == []


@every_variant
def test_weights_sum_to_one_over_what_is_present(name):
    fusion, x = make(name), inputs()
    _, weights = fusion(x, return_weights=True)
    if VARIANTS[name][0] in NO_WEIGHTS:
        assert weights == {}
        return
    x = fusion.filled(x) if name in FILLED else x
    total = sum(w.sum(dim=1) for w in weights.values())
    torch.testing.assert_close(total, torch.ones(4))
    for n, w in weights.items():
        assert w.shape == x[n].mask.shape and w[~x[n].mask].eq(0).all()


@every_fusion
def test_bf16_autocast(name):
    fusion, x = make(name), inputs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = fusion(x)
        (gradient,) = torch.autograd.grad(rounded.sum(), [next(iter(fusion.parameters()))])
    torch.testing.assert_close(rounded.float(), fusion(x), rtol=0.1, atol=0.1)
    assert gradient.isfinite().all()


@every_fusion
def test_device_move(name):
    fusion = make(name).to("meta").train()
    x = {n: Modality(m.values.to("meta"), m.mask.to("meta")) for n, m in inputs().items()}
    assert fusion(x).device.type == "meta", "a tensor was made on the CPU inside forward"


def test_dropout_is_for_training_only():
    for name in FUSIONS:
        plain, dropped = make(name), make(f"{name} with dropout")
        state = {key.removeprefix("fusion."): value for key, value in dropped.state_dict().items()}
        plain.load_state_dict(state)
        assert torch.equal(dropped(inputs()), plain(inputs()))
        assert not torch.equal(dropped.train()(inputs()), plain(inputs()))


def test_errors_name_what_is_wrong():
    fusion = make("concat")
    with pytest.raises(ValueError, match="none of the modalities text, image, audio"):
        fusion({})
    with pytest.raises(ValueError, match="'smell'.*text, image, audio"):
        fusion({"smell": inputs()["text"]})
    with pytest.raises(ValueError, match=r"'text'.*\(B, T, 6\)"):
        fusion({"text": inputs()["image"]})
    with pytest.raises(ValueError, match="'concatenate'.*concat"):
        build_fusion("concatenate", DIMS, 8)


def test_concat_cannot_express_an_interaction_and_attention_can():
    """Under a linear head concat is additive over modalities: f(a,b) - f(a',b) - f(a,b') + f(a',b') = 0."""

    def mixed_difference(name):
        fusion, x, y = make(name), inputs(seed=1), inputs(seed=2)
        corner = {}
        for i, a in enumerate((x, y)):
            for j, b in enumerate((x, y)):
                corner[i, j] = fusion({"text": a["text"], "image": b["image"]})[0]
        return (corner[0, 0] - corner[0, 1] - corner[1, 0] + corner[1, 1]).abs().max()

    assert mixed_difference("concat") < 1e-5
    assert mixed_difference("attention") > 1e-3
