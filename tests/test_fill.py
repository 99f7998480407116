"""Filling gaps: what is there stays, what is drawn depends on what is there alone."""

import pytest
import torch

from mmbook import Trainer
from mmbook.book.written.fill import fill, make_filler, with_gaps
from mmbook.data import from_arrays


def data(n=300, seed=0):
    torch.manual_seed(seed)
    common = torch.randn(n, 1)
    arrays = {
        "text": torch.cat([common.expand(n, 4), torch.randn(n, 8)], dim=1),
        "image": torch.cat([common, torch.randn(n, 2)], dim=1),
        "audio": torch.randn(n, 5),
    }
    return from_arrays(arrays, (common[:, 0] > 0).long())


def fillers(dataset):
    torch.manual_seed(1)
    return {name: make_filler(dataset.dims, name) for name in dataset.dims}


def test_gaps_have_the_rate_and_leave_something():
    whole = data(4000)
    for rate in (0.0, 0.3, 0.9, 1.0):
        lengths = torch.stack(list(with_gaps(whole, rate).lengths.values()))
        assert (lengths.sum(dim=0) >= 1).all()
        # of three independent losses, all three happen with rate ** 3; then one comes back
        expected = rate - rate**3 / 3
        assert abs(1 - lengths.float().mean() - expected) < 0.02
    once, again = with_gaps(whole, 0.5, seed=1), with_gaps(whole, 0.5, seed=1)
    assert all(torch.equal(once.lengths[n], again.lengths[n]) for n in once.lengths)
    twice = with_gaps(once, 0.5, seed=2)
    assert all((twice.lengths[n] <= once.lengths[n]).all() for n in once.lengths)
    assert (torch.stack(list(twice.lengths.values())).sum(dim=0) >= 1).all()


def test_what_is_present_stays_and_what_is_missing_is_drawn():
    gaps = with_gaps(data(), 0.5)
    full = fill(gaps, fillers(gaps), seed=0)
    for name, array in full.arrays.items():
        there = gaps.lengths[name] > 0
        assert torch.equal(array[there], gaps.arrays[name][there])
        assert (full.lengths[name] == 1).all() and array.isfinite().all()
        assert (array[~there] != gaps.arrays[name][~there]).any()
    other = fill(gaps, fillers(gaps), seed=1)
    lost = gaps.lengths["text"] == 0
    assert not torch.equal(full.arrays["text"][lost], other.arrays["text"][lost])


def test_a_draw_knows_neither_the_label_nor_what_is_missing():
    gaps = with_gaps(data(), 0.5)
    full = fill(gaps, fillers(gaps))
    hidden = {
        n: torch.where((gaps.lengths[n] > 0)[:, None, None], x, torch.full_like(x, float("nan")))
        for n, x in gaps.arrays.items()
    }
    blind = fill(from_arrays(hidden, 1 - gaps.labels, gaps.lengths), fillers(gaps))
    for name in full.arrays:
        torch.testing.assert_close(blind.arrays[name], full.arrays[name], rtol=0, atol=0)


def test_one_filler_fills_one_modality():
    gaps = with_gaps(data(), 0.5)
    only = fill(gaps, {"image": fillers(gaps)["image"]})
    assert (only.lengths["image"] == 1).all() and torch.equal(only.lengths["text"], gaps.lengths["text"])


def test_a_trained_filler_draws_what_the_present_modality_says():
    """The first number of the picture is that of the text, or would be drawn blindly without it."""
    whole = data(3000)
    torch.manual_seed(0)
    filler = make_filler(whole.dims, "image")
    Trainer(filler, with_gaps(whole, 0.3), epochs=20, batch_size=128, lr=5e-3, seed=0, progress=False).fit()
    test = data(1000, seed=9)
    lost = from_arrays(test.arrays, test.labels, {"image": torch.zeros(1000)})
    drawn = fill(lost, {"image": filler}).arrays["image"][:, 0]
    seen, other = test.arrays["text"][:, 0, 0], test.arrays["audio"][:, 0, 0]
    assert torch.corrcoef(torch.stack([drawn[:, 0], seen]))[0, 1] > 0.5
    assert torch.corrcoef(torch.stack([drawn[:, 0], other]))[0, 1].abs() < 0.2
    # draws, not means, which would spread too little; the true deviation is 1
    assert drawn.std(dim=0).min() > 0.7 and drawn.std(dim=0).max() < 1.5


def test_errors_name_what_is_wrong():
    whole = data()
    with pytest.raises(ValueError, match=r"1\.5.*0 to 1"):
        with_gaps(whole, 1.5)
    with pytest.raises(ValueError, match="'smell'.*text, image, audio"):
        make_filler(whole.dims, "smell")
    long = from_arrays({"text": torch.zeros(4, 2, 3)}, torch.zeros(4))
    with pytest.raises(ValueError, match="'text' has 2 tokens"):
        fill(long, {})
