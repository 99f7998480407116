"""Scenes of emoji: exact boxes, splits that share no drawing, rows that depend on nothing but their index."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmbook.book.datasets import EmojiScenes
from mmbook.book.datasets.emoji_scenes import KINDS, OBJECTS, SIDES, codes_of, cut_out
from mmbook.preprocess import TextProcessor

SPLITS = ("train", "valid", "test")


def test_no_drawing_is_in_two_splits_and_every_kind_is_in_each():
    codes = {split: codes_of(split) for split in SPLITS}
    flat = [code for split in SPLITS for kind in KINDS for code in codes[split][kind]]
    assert len(flat) == len(set(flat))
    assert all(codes[split][kind] for split in SPLITS for kind in KINDS)
    assert len(codes["train"]["flag"]) > len(codes["test"]["flag"]) > len(codes["valid"]["flag"])


@pytest.mark.parametrize("style", ["twemoji", "openmoji"])
def test_boxes_are_where_the_drawings_are(style):
    """Against the same scene without its emoji, nothing has changed outside the boxes, and much inside."""
    data = EmojiScenes("valid", count=6, style=style)
    for i in range(len(data)):
        scene = data.raw(i)
        picture = np.asarray(scene.picture).astype(int)
        inside = np.zeros(picture.shape[:2], bool)
        for left, top, right, bottom in scene.boxes.int().tolist():
            assert 0 <= left < right <= data.size and 0 <= top < bottom <= data.size
            longer = max(right - left, bottom - top) / data.size
            assert SIDES[0] - 0.02 <= longer <= SIDES[1] + 0.02
            assert not inside[top:bottom, left:right].any()  # they lie apart
            inside[top:bottom, left:right] = True
        bare = EmojiScenes("valid", count=6, style=style)
        bare_scene = _without_drawings(bare, i)
        changed = (picture != bare_scene).any(axis=2)
        assert not changed[~inside].any() and changed[inside].mean() > 0.3


def _without_drawings(data, index):
    from mmbook.book.datasets import emoji_scenes

    real = emoji_scenes.cut_out
    clear = {}
    try:
        emoji_scenes.cut_out = lambda code, style: clear.setdefault(code, _clear(real(code, style)))
        return np.asarray(data.raw(index).picture).astype(int)
    finally:
        emoji_scenes.cut_out = real


def _clear(drawing):
    nothing = drawing.copy()
    nothing.putalpha(0)
    return nothing


def test_rows_are_a_pure_function_of_seed_split_and_index():
    few, many = EmojiScenes("train", count=3, seed=5), EmojiScenes("train", count=9, seed=5)
    for i in (2, 0, 1):
        a, b = few[i], many[i]
        assert torch.equal(a["image"], b["image"]) and torch.equal(a["labels"], b["labels"])
    assert not torch.equal(few[0]["image"], EmojiScenes("train", count=3, seed=6)[0]["image"])


def test_rows_have_the_agreed_shapes_and_labels_the_kinds_of_the_scene():
    data = EmojiScenes("test", count=12, size=48)
    for i in range(len(data)):
        row, scene = data[i], data.raw(i)
        assert row["image"].shape == (1, 3, 48, 48) and row["labels"].shape == (OBJECTS, 5) and row["id"] == i
        real = row["labels"][row["labels"][:, 0] >= 0]
        assert 1 <= len(real) <= OBJECTS
        assert [KINDS[int(k)] for k in real[:, 0]] == scene.kinds
        centre, size = real[:, 1:3] * 48, real[:, 3:] * 48
        torch.testing.assert_close(torch.cat([centre - size / 2, centre + size / 2], dim=1), scene.boxes)


def test_kinds_are_even_and_say_nothing_about_places():
    data = EmojiScenes("train", count=300)
    rows = [data.raw(i) for i in range(len(data))]
    kinds = np.array([KINDS.index(kind) for scene in rows for kind in scene.kinds])
    across = np.concatenate([scene.boxes[:, ::2].mean(1).numpy() for scene in rows])
    share = np.bincount(kinds, minlength=len(KINDS)) / len(kinds)
    assert np.abs(share - 1 / len(KINDS)).max() < 4 * np.sqrt(0.2 * 0.8 / len(kinds))
    means = np.array([across[kinds == k].mean() for k in range(len(KINDS))])
    assert np.abs(means - across.mean()).max() < 4 * across.std() / np.sqrt(len(kinds) / len(KINDS))


def test_a_question_leaves_the_scene_as_it_is_and_asks_for_one_kind():
    plain, asked = EmojiScenes("test", count=40), EmojiScenes("test", count=40, asks=True)
    empty = 0
    for i in range(len(asked)):
        row, scene = asked[i], asked.raw(i)
        kinds = {KINDS[int(k)] for k in row["labels"][:, 0] if k >= 0}
        assert kinds == {scene.asked} & set(scene.kinds)
        assert torch.equal(row["text"], TextProcessor()(f"find every {scene.asked}"))
        empty += not kinds
    assert 0 < empty < len(asked)
    assert "text" not in plain[0] and plain.raw(0).asked is None


def test_the_other_style_is_the_same_scene_in_other_hands():
    ours, theirs = EmojiScenes("test", count=5), EmojiScenes("test", count=5, style="openmoji")
    for i in range(5):
        assert (
            torch.equal(ours[i]["labels"], theirs[i]["labels"]) and ours.raw(i).codes == theirs.raw(i).codes
        )
        assert not torch.equal(ours[i]["image"], theirs[i]["image"])


def test_a_drawing_is_cut_to_what_is_seen():
    for style in ("twemoji", "openmoji"):
        alpha = np.asarray(cut_out(codes_of("test")["heart"][0], style).getchannel("A"))
        assert all(edge.any() for edge in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]))


def test_what_is_shown_has_alt_text_and_hides_the_answer():
    page = EmojiScenes("test", count=2, asks=True).show(1).data
    assert 'alt="A scene of' in page and "<details>" in page and "Find every" in page


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match="dev"):
        EmojiScenes("dev")
    with pytest.raises(ValueError, match="count is 0"):
        EmojiScenes(count=0)
    with pytest.raises(ValueError, match="style is 'noto'"):
        EmojiScenes(style="noto")
    with pytest.raises(IndexError):
        EmojiScenes(count=2).raw(2)
