"""Modality, collate and group: padding is marked, and what lies under it never counts."""

import pytest
import torch

from mmbook import Modality, collate
from mmbook.modality import group


def rows():
    return [
        {"text": torch.tensor([3, 4, 5]), "sound": torch.ones(2, 4), "labels": 1, "id": 10},
        {"text": torch.tensor([6]), "sound": None, "labels": 0, "id": 11},
    ]


def test_collate_pads_and_marks():
    batch = collate(rows())
    assert batch["text"].tolist() == [[3, 4, 5], [6, 0, 0]]
    assert batch["text_mask"].tolist() == [[True, True, True], [True, False, False]]
    assert batch["labels"].tolist() == [1, 0] and batch["ids"].tolist() == [10, 11]


@pytest.mark.parametrize("missing", [None, torch.zeros(0, 4)], ids=["None", "length 0"])
def test_a_missing_modality_is_a_row_of_false(missing):
    first, second = rows()
    batch = collate([first, second | {"sound": missing}])
    assert batch["sound_mask"].tolist() == [[True, True], [False, False]]
    assert batch["sound"].shape == (2, 2, 4)


def test_a_modality_absent_from_every_row_is_left_out():
    assert set(collate([{"a": torch.ones(1, 2), "b": None, "labels": 0}])) == {"a", "a_mask", "labels"}


def test_batch_of_length_zero_items_keeps_a_time_axis():
    batch = collate([{"a": torch.zeros(0, 3)}, {"a": torch.zeros(0, 3)}])
    assert batch["a"].shape == (2, 1, 3) and not batch["a_mask"].any()


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ([], "no rows"),
        ([{"a": torch.ones(2, 3)}, {"a": torch.ones(2, 4)}], "'a' of row 1"),
        ([{"a": torch.ones(2, 3), "labels": 1}, {"a": torch.ones(2, 3)}], "labels"),
    ],
)
def test_collate_refuses(bad, words):
    with pytest.raises(ValueError, match=words):
        collate(bad)


def test_group_names_the_key_it_does_not_know():
    with pytest.raises(ValueError, match="'imgae'.*image"):
        group({"imgae": torch.ones(1, 1, 2)}, ["image"])
    with pytest.raises(ValueError, match="image_mask"):
        group({"image": torch.ones(2, 3, 4), "image_mask": torch.ones(2, 2)}, ["image"])


def test_without_a_mask_everything_is_real():
    assert group({"a": torch.ones(2, 3, 4)}, ["a"])["a"].mask.all()


@pytest.mark.parametrize("junk", [float("nan"), float("inf"), 1e30])
def test_pooled_mean_ignores_what_is_under_the_mask(junk):
    values = torch.randn(2, 5, 3)
    mask = torch.tensor([[1, 1, 1, 0, 0], [0, 0, 0, 0, 0]]).bool()
    dirty = values.masked_fill(~mask[..., None], junk)
    pooled = Modality(dirty, mask).pooled()
    torch.testing.assert_close(pooled[0], values[0, :3].mean(dim=0))
    assert pooled[1].eq(0).all(), "a row without the modality pools to zero"
