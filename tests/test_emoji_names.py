"""Emoji with their names: what is in, what is left out, splits without leaks, rows that make batches."""

from __future__ import annotations

import emoji as unicode_emoji
import pytest
import torch

from mmbook import collate
from mmbook.book.datasets import Emoji
from mmbook.book.datasets.emoji import LANGUAGES, family, named_emoji
from mmbook.book.datasets.emoji_drawings import STYLES, code_of, draw, drawn
from mmbook.book.datasets.emoji_drawings import emoji as faces

SPLITS = ("train", "valid", "test")


def test_every_emoji_is_drawn_and_named_in_every_language() -> None:
    found, skipped = named_emoji()
    assert len(found) > 1500
    for row in found:
        assert tuple(row.names) == LANGUAGES
        assert all(name and "_" not in name and ":" not in name for name in row.names.values())
        assert all(row.code in drawn(style) for style in STYLES)
    whole = [c for c, entry in unicode_emoji.EMOJI_DATA.items() if entry["status"] == 2]  # fully qualified
    assert len(found) + sum(skipped.values()) == len(whole), "each is in, or counted with its reason"


def test_names_are_those_of_the_languages() -> None:
    names = {row.char: row.names for row in named_emoji()[0]}
    expected = {"en": "red apple", "zh": "红苹果", "de": "roter apfel", "ja": "赤リンゴ"}
    assert expected.items() <= names["🍎"].items()
    assert len({tuple(row.values()) for row in names.values()}) == len(names), "no two have the same names"


def test_no_emoji_and_no_variant_is_in_two_splits() -> None:
    parts = {split: Emoji(split) for split in SPLITS}
    families = {split: {family(data.char(i)) for i in range(len(data))} for split, data in parts.items()}
    for a, b in (("train", "valid"), ("train", "test"), ("valid", "test")):
        assert not set(parts[a].labels) & set(parts[b].labels)
        assert not families[a] & families[b]
    total = sum(map(len, parts.values()))
    assert total == len(named_emoji()[0])
    for split, share in (("train", 0.8), ("valid", 0.1), ("test", 0.1)):
        assert abs(len(parts[split]) / total - share) < 0.03


def test_variants_share_a_family_and_others_do_not() -> None:
    assert family("🏃") == family("🏃‍♀️") == family("🏃‍♂️‍➡️") == family("🏃‍➡️")
    assert family("👨‍🍳") == family("👩‍🍳") == family("🧑‍🍳")
    assert family("❤️") == family("❤") != family("❤️‍🔥")
    assert family("♂️") != family("♀️"), "a sign by itself is an emoji, not a variant"
    assert family("🍎") != family("🍏")


def test_both_styles_hold_the_same_emoji_in_the_same_order() -> None:
    one, other = Emoji("valid", style="twemoji"), Emoji("valid", style="openmoji")
    assert (one.labels == other.labels).all()
    assert one.names(3) == other.names(3)
    different = [(one[i]["image"] - other[i]["image"]).abs().mean() > 0.05 for i in range(0, 60, 6)]
    assert sum(different) >= 8, "but not the same drawings"


def test_rows_make_a_batch() -> None:
    data = Emoji("test", size=40)
    batch = collate([data[i] for i in range(3)])
    assert batch["image"].shape == (3, 1, 3, 40, 40) and batch["image_mask"].all()
    assert batch["labels"].tolist() == data.labels[:3].tolist()
    assert batch["ids"].tolist() == [0, 1, 2]
    assert torch.equal(data[-1]["image"], data[len(data) - 1]["image"]) and data[-1]["id"] == len(data) - 1
    with pytest.raises(IndexError):
        data[len(data)]


def test_a_name_as_text() -> None:
    data = Emoji("test", text="en")
    batch = collate([data[i] for i in range(4)])
    assert batch["text"].shape == batch["text_mask"].shape and not batch["text"].is_floating_point()
    assert data._tokenize is not None
    assert data._tokenize.decode(data[2]["text"][1:-1]) == data.names(2)["en"].lower()


def test_show_has_picture_and_names() -> None:
    data = Emoji("train", languages=("en", "zh"))
    html, names = data.show(5).data, data.names(5)
    assert 'src="data:image/png;base64,' in html and f'alt="{names["en"]}"' in html
    assert 'lang="zh"' in html and names["zh"] in html
    assert data.raw(5).size == (72, 72)


def test_draw_knows_sequences_and_faces() -> None:
    assert code_of("🏴‍☠️") == "1f3f4-200d-2620"
    for style in STYLES:
        assert draw(code_of("🏴‍☠️"), style).size == (72, 72)
        assert all(row.code in drawn(style) for row in faces())
        assert code_of(faces()[0].char) == faces()[0].code
    with pytest.raises(ValueError, match="no drawing for '41'"):
        draw(code_of("A"), "twemoji")


def test_wrong_options_are_named() -> None:
    with pytest.raises(ValueError, match=r"style is 'noto'.*twemoji, openmoji"):
        Emoji(style="noto")
    with pytest.raises(ValueError, match=r"languages are en, xx.*zh"):
        Emoji(languages=("en", "xx"))
    with pytest.raises(ValueError, match="languages are none"):
        Emoji(languages=())
    with pytest.raises(ValueError, match=r"text is 'ko'.*one of languages, en"):
        Emoji(text="ko")
    with pytest.raises(ValueError, match="split is 'all'"):
        Emoji("all")
