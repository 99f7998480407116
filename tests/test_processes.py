"""One process and two are the same training; so are a batch in parts and the batch as a whole."""

import pytest
import torch

from tests import runs

LOSSES = {"supervised": "net", "contrastive": "contrastive"}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("count", [64, 58, 49], ids=["full batches", "partial", "last batch of one"])
def test_two_processes_have_the_losses_of_one(loss, count, tmp_path):
    """49 samples in batches of 16: in the last step the second process has none. Norms are shared."""
    options = {"dropout": 0.0, "count": count, "norm": count != 49}
    found = {}
    for world in (1, 2):
        folder = tmp_path / str(world)
        folder.mkdir()
        runs.finish(runs.start(LOSSES[loss], folder, options, world)[0])
        found[world] = runs.final(folder)
    one, two = found[1], found[2]
    assert one.keys() == two.keys() and len(one["loss"]) == 3 * -(-count // 16)
    torch.testing.assert_close(one["loss"], two["loss"], rtol=0, atol=1e-6)
    if "valid" in one:
        torch.testing.assert_close(one["valid"], two["valid"], rtol=0, atol=1e-5)
    weights = [name for name in one if name.startswith("weight")]
    for name in weights:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("count", [64, 58])
def test_four_parts_are_the_whole_batch(loss, count, tmp_path):
    """For the contrastive loss too, whose parts alone would be another loss."""
    found = {}
    for parts in (1, 4):
        folder = tmp_path / str(parts)
        folder.mkdir()
        options = {"dropout": 0.0, "norm": False, "count": count, "accumulate": parts}
        runs.finish(runs.start(LOSSES[loss], folder, options)[0])
        found[parts] = runs.final(folder)
    torch.testing.assert_close(found[1]["loss"], found[4]["loss"], rtol=0, atol=1e-6)
    for name in found[1]:
        torch.testing.assert_close(found[1][name], found[4][name], rtol=1e-4, atol=1e-5)
