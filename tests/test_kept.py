"""What is kept is made once, again after a change, and never half."""

import pytest
import torch

from mmbook.book.recipes import kept

SOURCES = ("modality.py", "scale.py")


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MMBOOK_CACHE", str(tmp_path))
    return tmp_path


def test_made_once_and_the_readers_random_numbers_stay_as_they_were():
    calls = []

    def make():
        calls.append(1)
        return {"x": torch.randn(3)}

    torch.manual_seed(5)
    expected = torch.randn(2)
    torch.manual_seed(5)
    first = kept.tensors("thing", SOURCES, make)
    torch.testing.assert_close(torch.randn(2), expected, rtol=0, atol=0)
    assert kept.tensors("thing", SOURCES, make)["x"].equal(first["x"])
    assert len(calls) == 1


def test_it_can_be_trained_where_the_reader_wants_no_gradients():
    with torch.no_grad():
        made = kept.tensors("thing", SOURCES, lambda: {"x": torch.tensor([torch.is_grad_enabled()])})
        assert made["x"].all() and not torch.is_grad_enabled()


def test_two_names_for_the_same_numbers_are_kept():
    same = torch.arange(6).view(2, 3)
    made = kept.tensors("thing", SOURCES, lambda: {"x": same, "again": same, "turned": same.T})
    assert torch.equal(made["x"], same) and torch.equal(made["again"], same)
    assert torch.equal(made["turned"], same.T)


def test_a_failure_leaves_nothing_that_would_be_taken_for_the_result(empty_cache):
    def broken(path):
        path.write_text("half")
        raise RuntimeError("out of power")

    with pytest.raises(RuntimeError, match="out of power"):
        kept.place("thing", SOURCES, broken)
    whole = kept.place("thing", SOURCES, lambda path: path.write_text("whole"))
    assert whole.read_text() == "whole"


def test_the_key_changes_with_each_thing_the_result_depends_on(tmp_path, monkeypatch):
    package = tmp_path / "package"
    package.mkdir()
    for name in SOURCES:
        (package / name).write_text("before")
    monkeypatch.setattr(kept.mmbook, "__file__", str(package / "__init__.py"))
    plain = kept.key(SOURCES)
    keys = {plain, kept.key(SOURCES[:1]), kept.key(SOURCES, ["1.0"]), kept.key(SOURCES, ["twemoji"])}
    monkeypatch.setenv("MMBOOK_SCALE", "gpu")
    keys.add(kept.key(SOURCES))
    monkeypatch.undo()
    monkeypatch.setattr(kept.mmbook, "__file__", str(package / "__init__.py"))
    (package / "scale.py").write_text("after")
    keys.add(kept.key(SOURCES))
    assert len(keys) == 6
    (package / "scale.py").write_text("before")
    assert kept.key(reversed(SOURCES)) == plain


def test_every_recipe_names_sources_that_are_there():
    from mmbook.book.recipes import clips, digits, reviews, words

    for sources in (clips.SOURCES, digits.SOURCES, reviews.SOURCES, words.VECTORS, words.SENTENCES):
        assert len(set(sources)) == len(sources)
        kept.key(sources)


def test_an_unknown_source_is_named():
    with pytest.raises(FileNotFoundError, match="nowhere.py"):
        kept.key(["nowhere.py"])
