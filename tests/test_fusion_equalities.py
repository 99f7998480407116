"""Every fusion that has a second definition equals it, in float64."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from mmbook import Modality
from mmbook.fusion import LowRank, TensorFusion, build_fusion
from mmbook.fusion.product_of_experts import product
from tests.test_fusion_contract import DIMS, inputs


@pytest.fixture(autouse=True)
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def make(name, dims=DIMS, out_dim=8, **options):
    torch.manual_seed(0)
    fusion = build_fusion(name, dims, out_dim, **options).eval()
    for module in fusion.modules():  # norms as after training
        if isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.weight, mean=1.0, std=0.3)
            nn.init.normal_(module.bias, std=0.3)
    return fusion


def equal(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def vectors(layers, x, name):
    """The normalised mean of a modality over its real tokens, one sample at a time: (B, D)."""
    m = x[name]
    rows = [v[real].mean(dim=0) if real.any() else None for v, real in zip(m.values, m.mask, strict=True)]
    return [None if row is None else layers.norms[name](row) for row in rows]


@pytest.mark.parametrize("dims", [{"a": 4}, {"a": 4, "b": 3}, DIMS], ids=len)
def test_low_rank_of_full_rank_is_tensor_fusion(dims):
    tensor = make("tensor", dims, inner_width=3)
    low = LowRank.from_tensor(tensor)
    assert low.factors["a" if "a" in dims else "text"].shape[0] == 4 ** (len(dims) - 1)
    x = {n: m for n, m in inputs(dims=dims).items() if n in dims}
    equal(low(x), tensor(x))
    g = torch.randn(4, 8)
    ours, theirs = ((f(x) * g).sum() for f in (low, tensor))
    one, other = next(iter(dims)), "linears"
    equal(
        *(
            torch.autograd.grad(loss, getattr(f.vectors, other)[one].weight)[0]
            for loss, f in ((ours, low), (theirs, tensor))
        )
    )


def test_tensor_fusion_is_the_outer_product_written_out():
    fusion, x = make("tensor", inner_width=2), inputs()
    found = fusion(x)
    weight = fusion.linear.weight.view(8, 3, 3, 3)
    for i in range(4):
        u = []
        for name in DIMS:
            v = vectors(fusion.vectors.means, x, name)[i]
            own = torch.zeros(2) if v is None else fusion.vectors.linears[name](v)
            u.append([*own, torch.tensor(1.0)])
        for o in range(8):
            total = 0
            for j, k, m in itertools.product(range(3), repeat=3):
                total = total + weight[o, j, k, m] * u[0][j] * u[1][k] * u[2][m]
            equal(found[i, o], total)


def test_tensor_fusion_predicts_its_size_and_refuses_before_it_allocates():
    for modalities, width, out_dim in ((1, 3, 2), (3, 4, 5)):
        dims = {str(i): 6 for i in range(modalities)}
        layer = build_fusion("tensor", dims, out_dim, inner_width=width).linear
        assert layer.weight.numel() == TensorFusion.parameters_of_layer(modalities, width, out_dim)
    six = {str(i): 32 for i in range(6)}
    with pytest.raises(ValueError, match=r"82,653,950,016 parameters .*inner_width.*'low_rank'"):
        build_fusion("tensor", six, 64, inner_width=32)
    assert build_fusion("tensor", six, 64, inner_width=4)(inputs(dims=six)).shape == (4, 64)


def test_late_is_the_average_of_separate_linear_models():
    late, x = make("late"), inputs()
    alone = {}
    for name, dim in DIMS.items():
        alone[name] = make("concat", {name: dim})
        alone[name].norms[name].load_state_dict(late.answers.means.norms[name].state_dict())
        alone[name].linear.load_state_dict(late.answers.linears[name].state_dict())
    for i, row in enumerate(late(x)):
        one = {n: Modality(m.values[i : i + 1], m.mask[i : i + 1]) for n, m in x.items() if m.mask[i].any()}
        equal(row, torch.stack([alone[n]({n: m})[0] for n, m in one.items()]).mean(dim=0))


def test_a_gate_of_two_modalities_is_the_sigmoid_of_the_paper():
    dims = {"a": 4, "b": 3}
    fusion, x = make("gated", dims), inputs(batch=2, dims=dims)
    a, b = (torch.stack(vectors(fusion.means, x, n)) for n in dims)
    first, second = fusion.gates.weight.chunk(2), fusion.gates.bias.chunk(2)
    z = (torch.cat([a, b], dim=1) @ (first[0] - first[1]).T + second[0] - second[1]).sigmoid()
    equal(fusion(x), z * fusion.content["a"](a).tanh() + (1 - z) * fusion.content["b"](b).tanh())


def test_bilinear_is_a_sum_of_quadratic_forms_where_tanh_is_linear():
    """Small vectors pass a tanh unchanged: then v_a' (U' diag(P_k) V) v_b, matrix by matrix."""
    fusion, x = make("bilinear", rank=3), inputs(batch=1)
    for norm in fusion.means.norms.values():
        nn.init.constant_(norm.weight, 1e-5)
        nn.init.zeros_(norm.bias)
    v = [vectors(fusion.means, x, name)[0] for name in DIMS]
    linear = sum(layer(row) for layer, row in zip(fusion.linears.values(), v, strict=True))
    products = 0
    for (a, b), U, V, P in zip(fusion.pairs, fusion.left, fusion.right, fusion.out, strict=True):
        forms = torch.einsum("ri,kr,rj->kij", U.weight, P.weight, V.weight)
        products = products + torch.einsum("i,kij,j->k", v[a], forms, v[b])
    # the products are of order 1e-10: compare them alone, enlarged, and not what stands beside them
    torch.testing.assert_close(1e10 * (fusion(x)[0] - linear), 1e10 * products, rtol=1e-4, atol=1e-4)
    assert (1e10 * products).abs().max() > 1e-2


def test_film_of_one_sample_step_by_step():
    fusion, x = make("film"), inputs(batch=3)
    for i in range(3):
        here = {n: m.values[i, m.mask[i]] for n, m in x.items() if m.mask[i].any()}
        tokens = {n: fusion.project[n](v) for n, v in here.items()}
        found = []
        for name, t in tokens.items():
            others = [u.mean(dim=0) for n, u in tokens.items() if n != name]
            if others:
                gamma, beta = fusion.generate[name](torch.stack(others).mean(dim=0)).chunk(2)
                t = (1 + gamma) * t + beta
            found.append(nn.functional.gelu(t).mean(dim=0))
        equal(fusion(x)[i], torch.stack(found).mean(dim=0))


def test_product_of_experts_is_the_product_of_the_densities():
    """Mean and precision of the normalised product of densities, integrated on a grid."""
    g = torch.Generator().manual_seed(0)
    means, logs = torch.randn(1, 3, 1, generator=g), torch.randn(1, 3, 1, generator=g)
    grid = torch.linspace(-15, 15, 200_001)
    for real in itertools.product([False, True], repeat=3):
        log_density = -(grid**2) / 2  # the prior
        for there, mean, log in zip(real, means[0, :, 0], logs[0, :, 0], strict=True):
            log_density = log_density - there * log.exp() * (grid - mean) ** 2 / 2
        p = log_density.softmax(dim=0)
        mean = (p * grid).sum()
        mu, precision = product(means, logs, torch.tensor([real]))
        equal(mu[0, 0], mean)
        equal(1 / precision[0, 0], (p * (grid - mean) ** 2).sum())


def test_product_of_experts_fuses_the_means_that_its_layers_give():
    fusion, x = make("product_of_experts"), inputs()
    for i in range(4):
        top, bottom = torch.zeros(8), torch.ones(8)
        for name in DIMS:
            v = vectors(fusion.experts.means, x, name)[i]
            if v is not None:
                mean, log = fusion.experts.linears[name](v).chunk(2)
                top, bottom = top + log.exp() * mean, bottom + log.exp()
        equal(fusion(x)[i], top / bottom)


def test_bottleneck_with_all_tokens_visible_is_self_attention():
    """The construction: no bottleneck tokens, ``sees="all"``, the same weights in every modality's blocks.

    Then a layer updates each modality's tokens from all tokens with one set of weights, which is what a
    self-attention layer over the joined row does, and the mean over all real tokens is the same mean.
    """
    x = inputs(batch=6)
    early = make("self_attention", positions="time")
    narrow = make("bottleneck", positions="time", sees="all", bottlenecks=0)
    for part in ("tokens", "norm", "out"):
        setattr(narrow, part, copy.deepcopy(getattr(early, part)))
    for blocks, block in zip(narrow.layers, early.blocks, strict=True):
        for name in DIMS:
            blocks[name].load_state_dict(block.state_dict())
    equal(narrow(x), early(x))
    x["text"].values[0, 0] += 1  # and with bottleneck tokens in the way, it is another function
    wide = make("bottleneck", positions="time")
    for part in ("tokens", "layers", "norm", "out"):
        setattr(wide, part, copy.deepcopy(getattr(narrow, part)))
    assert (wide(x) - early(x)).abs().max() > 1e-3


def naive_block(block, x, context):
    """One block for one sample, head by head and token by token: x (T, D), context (S, D), unpadded."""
    attend, D = block.attend, x.shape[-1]
    size = D // attend.heads
    reads = [block.attend_norm(c) for c in context]
    out = []
    for token in x:
        y, heads = block.attend_norm(token), []
        for h in range(attend.heads):
            part = slice(h * size, (h + 1) * size)
            q = attend.query(y)[part]
            scores = torch.stack([q @ attend.key(c)[part] / size**0.5 for c in reads])
            share = scores.exp() / scores.exp().sum()
            heads.append(sum(s * attend.value(c)[part] for s, c in zip(share, reads, strict=True)))
        token = token + attend.out(torch.cat(heads))
        out.append(token + block.perceptron(block.norm(token)))
    return torch.stack(out)


def sinusoid(t, width):
    angles = [t / 10_000 ** (2 * (k // 2) / width) for k in range(width)]
    return torch.tensor([math.cos(a) if k % 2 else math.sin(a) for k, a in enumerate(angles)])


def test_mult_is_a_loop_over_samples_pairs_heads_and_tokens():
    fusion, x = make("cross_attention", layers=2, heads=2), inputs(batch=3)
    found = fusion(x)
    for i in range(3):
        tokens = {}
        for name, m in x.items():
            real = m.values[i, m.mask[i]]  # no padding from here on
            rows = [fusion.tokens.project[name](v) + sinusoid(t, 8) for t, v in enumerate(real)]
            tokens[name] = torch.stack(rows) if rows else None
        pooled = []
        for a in DIMS:
            if tokens[a] is None:
                pooled.append(torch.zeros(16))
                continue
            read = []
            for b in DIMS:
                if a == b:
                    continue
                y = tokens[a]
                for block in fusion.cross[f"{a}_from_{b}"]:
                    if tokens[b] is None:  # nothing to look at: the perceptron goes on alone
                        y = y + block.perceptron(block.norm(y))
                    else:
                        y = naive_block(block, y, tokens[b])
                read.append(y)
            y = torch.cat(read, dim=-1)
            for block in fusion.own[a]:
                y = naive_block(block, y, y)
            pooled.append(fusion.norms[a](y).mean(dim=0))
        equal(found[i], fusion.out(torch.cat(pooled)))


def test_places_in_time_do_not_depend_on_padding_or_rate():
    """Twice the rate, padded on either side: each pair of fine steps lies around its coarse step."""
    from mmbook.fusion.tokens import places

    coarse = places(torch.ones(1, 4, dtype=torch.bool), "time")[0]
    mask = torch.tensor([[False] * 3 + [True] * 8 + [False] * 2])
    fine = places(mask, "time")[0, 3:11]
    equal(fine.view(4, 2).mean(dim=1), coarse)
    equal(places(mask, "index")[0, 3:11], torch.arange(8.0, dtype=torch.float32))


def test_mean_equals_late_as_a_function_of_its_layers():
    mean, late, x = make("mean"), make("late"), inputs()
    late.answers.load_state_dict(mean.vectors.state_dict())
    equal(late(x), mean(x))
