"""Every fusion compiles in one graph, forward and backward, and gives the same."""

import pytest
import torch

from mmbook.fusion import FUSIONS
from tests.test_fusion_contract import DIMS, inputs, make


def compiles(name):
    fusion, x = make(name), inputs()
    compiled = torch.compile(fusion, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), fusion(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [*FUSIONS, "concat, mean", "concat, learned", "no bottleneck"])
def test_compiled_gives_the_same(name):
    compiles(name)


def test_backward_through_aot_autograd():
    fusion, x = make("self_attention"), inputs()
    compiled = torch.compile(fusion, backend="aot_eager", fullgraph=True)
    weight = fusion.tokens.project["text"][1].weight
    (ours,), (theirs,) = (torch.autograd.grad(f(x).pow(2).sum(), weight) for f in (compiled, fusion))
    assert ours.shape[1] == DIMS["text"]
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
