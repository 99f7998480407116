"""Datasets made of arrays."""

import numpy as np
import pytest
import torch

from mmbook import collate
from mmbook.data.arrays import from_arrays


def made():
    rng = np.random.default_rng(0)
    arrays = {"a": rng.normal(size=(6, 4, 3)), "b": rng.normal(size=(6, 2))}
    return arrays, from_arrays(arrays, np.arange(6) % 2, {"a": [4, 0, 1, 2, 3, 4]})


def test_rows_are_cut_to_their_length_and_vectors_get_one_step():
    arrays, data = made()
    assert len(data) == 6 and data.dims == {"a": 3, "b": 2}
    assert data[1]["a"] is None, "length 0 is a missing modality"
    np.testing.assert_allclose(data[2]["a"], arrays["a"][2, :1], rtol=1e-6)
    assert data[0]["b"].shape == (1, 2)
    batch = collate([data[i] for i in range(6)])
    assert batch["a_mask"].sum(dim=1).tolist() == [4, 0, 1, 2, 3, 4]


@pytest.mark.parametrize("indices", [[0, 1, 2, 3, 4, 5], [3, 2], [1], [4, 4, 0]])
def test_a_batch_at_once_equals_the_rows_collated_one_by_one(indices):
    data = made()[1]
    data.arrays["a"][2, 1:] = float("nan")  # what lies beyond a length must not come through
    slow = collate([data[i] for i in indices])
    rows = data.__getitems__(indices)
    for fast in (collate(rows), collate(list(rows))):
        assert list(fast) == list(slow)
        for key, value in slow.items():
            assert torch.equal(fast[key], value) and fast[key].dtype == value.dtype
    assert [row["id"] for row in rows[:2]] == indices[:2]


def test_the_data_loader_takes_the_fast_path_and_own_collates_still_see_rows():
    data = made()[1]
    subset = torch.utils.data.Subset(data, [5, 3, 1, 0])
    (batch,) = torch.utils.data.DataLoader(subset, batch_size=4, collate_fn=collate)
    assert batch["ids"].tolist() == [5, 3, 1, 0]
    (mine,) = torch.utils.data.DataLoader(data, batch_size=6, collate_fn=lambda rows: [r["id"] for r in rows])
    assert mine == list(range(6))


def test_select_and_shuffle():
    _, data = made()
    assert set(data.select(["b"])[0]) == {"b", "labels", "id"}
    dealt = data.shuffled("b", seed=3)
    assert torch.equal(dealt.labels, data.labels) and torch.equal(dealt.arrays["a"], data.arrays["a"])
    assert not torch.equal(dealt.arrays["b"], data.arrays["b"])
    assert torch.equal(dealt.arrays["b"].sort(dim=0).values, data.arrays["b"].sort(dim=0).values)


def test_float_labels_stay_numbers():
    assert from_arrays({"a": np.ones((2, 1))}, np.array([0.5, 1.5]))[0]["labels"].is_floating_point()


@pytest.mark.parametrize(
    ("arrays", "lengths", "words"),
    [
        ({}, None, "no arrays"),
        ({"a": np.ones((3, 2))}, None, r"'a' has shape .*\(2, T, D\)"),
        ({"a": np.ones((2, 4, 2))}, {"b": [1, 1]}, "'b'"),
        ({"a": np.ones((2, 4, 2))}, {"a": [1, 5]}, "0 to 4"),
    ],
)
def test_refuses(arrays, lengths, words):
    with pytest.raises(ValueError, match=words):
        from_arrays(arrays, [0, 1], lengths)


def test_unknown_modality_lists_the_known():
    with pytest.raises(ValueError, match="'c'.*a, b"):
        made()[1].select(["c"])
