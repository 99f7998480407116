"""A run that was killed goes on as if nothing had been: to the last bit, wherever it was."""

import random
import time

import pytest
import torch

from tests import runs

KINDS = {
    "plain": ({"save_every": 3}, 1),
    "everything": (
        {"save_every": 3, "workers": 2, "augment": True, "accumulate": 3, "ema": 0.9, "keep_best": 2},
        1,
    ),
    "two processes": (
        {"save_every": 3, "workers": 1, "augment": True, "accumulate": 2, "ema": 0.9},
        2,
    ),
}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("kind", KINDS)
def test_ten_kills_change_no_bit(kind, tmp_path):
    options, world = KINDS[kind][0] | {"epochs": 40}, KINDS[kind][1]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for folder in (whole, broken):
        folder.mkdir()
    runs.finish(runs.start("net", whole, options | {"output_dir": str(whole / "run")}, world)[0])
    chance, killed = random.Random(kind), 0
    going_on = options | {"output_dir": str(broken / "run"), "resume": True}
    while killed < 10:
        processes, steps = runs.start("net", broken, going_on, world, pause=0.03)
        after = chance.randint(1, 4)
        while steps.value < after and all(p.is_alive() for p in processes):
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.06))
        if not all(p.is_alive() for p in processes):
            break
        runs.kill(processes)
        killed += 1
    assert killed == 10, "the run must be long enough for ten kills"
    runs.finish(runs.start("net", broken, going_on, world)[0])
    assert equal(runs.final(whole), runs.final(broken))
