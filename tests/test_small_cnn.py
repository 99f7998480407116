"""The group norm of `SmallCNN`: torch's numbers, wherever the channels lie in memory."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from mmbook.encoders.small_cnn import GroupNorm

FORMATS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize("layout", FORMATS, ids=["plain", "channels last"])
def test_it_equals_torchs_group_norm(layout):
    torch.manual_seed(0)
    ours, theirs = GroupNorm(4, 12), nn.GroupNorm(4, 12)
    nn.init.normal_(theirs.weight)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(3, 12, 5, 7).contiguous(memory_format=layout)
    found = []
    for norm in (ours, theirs):
        given = x.clone().requires_grad_()
        out = norm(given)
        out.square().sum().backward()
        found.append((out, given.grad, norm.weight.grad, norm.bias.grad))
    for mine, reference in zip(*found, strict=True):
        torch.testing.assert_close(mine, reference, atol=1e-4, rtol=1e-5)


def test_frozen_first_convolution_does_not_crash():
    """torch's own group norm ends such a process with a segmentation fault: hence a process of its own."""
    program = """
import torch
from mmbook.encoders import SmallCNN
from mmbook.modality import Modality
model = SmallCNN((8, 16))
model.stages[0].requires_grad_(False)
model(Modality(torch.randn(2, 1, 3, 16, 16), torch.ones(2, 1, dtype=torch.bool))).values.sum().backward()
assert model.stages[1].weight.grad.abs().sum() > 0
"""
    subprocess.run([sys.executable, "-c", program], check=True)
