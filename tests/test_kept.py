"""What is kept is made once, again after a change, never half; and says where it comes from."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from functools import cached_property

import pytest
import torch
from safetensors.torch import load_file

from mmbook.book import kept, pedigree
from mmbook.book.recipes import __main__ as command
from mmbook.book.recipes import declared


class Tiny(kept.Recipe):
    """A recipe whose functions belong to a test, and whose closures are said and not computed."""

    bounds = (15.0, 15.0)
    parts = {"model.py": "1"}  # noqa: RUF012
    reading = {"score.py": "1"}  # noqa: RUF012
    module = "book/tiny.py"

    @property
    def within(self):
        return {"sum": list(self.bounds)}

    @cached_property
    def made_by(self):
        return dict(self.parts)

    @cached_property
    def scored_by(self):
        return dict(self.reading)


calls: list[str] = []


def make():
    calls.append("make")
    same = torch.arange(6.0).view(2, 3)
    grad = torch.tensor([torch.is_grad_enabled()])
    return {"x": torch.randn(3), "a": same, "again": same, "turned": same.T, "grad": grad}


def score(result):
    calls.append("score")
    return {"sum": result["a"].sum().item()}


def tiny(make=make, **options) -> Tiny:
    """The recipe as a new process would see it."""
    return Tiny("tiny", make, score, **options)


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    """Nothing is cached or kept; what a test adds to the recipes goes with it."""
    monkeypatch.setenv("MMBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kept, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(kept, "REPOSITORY", tmp_path)
    monkeypatch.setattr(kept, "RECIPES", declared())
    monkeypatch.setattr(Tiny, "parts", {"model.py": "1"})
    monkeypatch.setattr(Tiny, "reading", {"score.py": "1"})
    calls.clear()
    return tmp_path


def test_made_once_and_the_readers_random_numbers_stay_as_they_were():
    torch.manual_seed(5)
    expected = torch.randn(2)
    torch.manual_seed(5)
    first = tiny().tensors()
    torch.testing.assert_close(torch.randn(2), expected, rtol=0, atol=0)
    assert tiny().tensors()["x"].equal(first["x"])
    assert calls == ["make"]


def test_it_can_be_trained_where_the_reader_wants_no_gradients():
    with torch.no_grad():
        assert tiny().tensors()["grad"].all() and not torch.is_grad_enabled()


def test_two_names_for_the_same_numbers_are_kept():
    made = tiny().tensors()
    assert torch.equal(made["a"], made["again"]) and torch.equal(made["turned"], made["a"].T)


def test_a_failure_leaves_nothing_that_would_be_taken_for_the_result():
    def broken():
        raise RuntimeError("out of power")

    with pytest.raises(RuntimeError, match="out of power"):
        tiny(broken).tensors()
    assert tiny().tensors()["a"].sum() == 15


def test_what_is_kept_is_read_from_the_package_and_from_nowhere_else(apart):
    record = tiny().make_anew()
    assert record["scores"] == {"sum": 15.0} and record["within"] == {"sum": [15.0, 15.0]}
    (apart / "results/tiny.safetensors").rename(apart / "aside")
    for file in (apart / "cache/results").iterdir():
        file.unlink()
    (apart / "aside").rename(apart / "results/tiny.safetensors")
    assert torch.equal(tiny().tensors()["x"], load_file(apart / "results/tiny.safetensors")["x"])
    assert calls.count("make") == 1


def test_a_change_of_what_makes_it_makes_it_anew_and_says_why(monkeypatch, caplog):
    before = tiny().make_anew()
    caplog.clear()
    monkeypatch.setattr(Tiny, "parts", {"model.py": "2"})
    tiny().tensors()
    assert calls.count("make") == 2
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.startswith("tiny: made anew") and line.endswith("since model.py changed")
    monkeypatch.setattr(Tiny, "parts", {"model.py": "1"})
    tiny().tensors()
    assert calls.count("make") == 2 and tiny().key == before["key"]


def test_the_scale_is_part_of_the_key(monkeypatch):
    recipe = declared()["shared_tasks"]
    laptop = recipe.key
    monkeypatch.setenv("MMBOOK_SCALE", "gpu")
    other = kept.Recipe("shared_tasks", recipe.make, recipe.score)
    assert other.key != laptop
    assert kept.changes(recipe.made_by, other.made_by) == "scale changed"


def test_versions_decide_only_what_is_not_kept():
    recipes = declared()
    assert "version of hibari-tts" in recipes["speech_voices"].made_by
    assert not any("version" in part for r in recipes.values() if r.keep for part in r.made_by)
    with pytest.raises(ValueError, match="cannot depend on versions"):
        tiny(versions=("torch",))


def test_a_score_outside_its_interval_keeps_nothing(apart, monkeypatch):
    monkeypatch.setattr(Tiny, "bounds", (16, 17))
    with pytest.raises(kept.ScoreOutside, match="tiny: sum is 15.0, not within 16 to 17"):
        tiny().make_anew()
    assert not (apart / "results").exists() or not list((apart / "results").iterdir())


def test_half_precision_is_read_as_single_and_refused_where_it_overflows(apart):
    exact = tiny(half=True).make_anew()
    assert exact["scores"] == {"sum": 15.0}
    assert load_file(apart / "results/tiny.safetensors")["x"].dtype == torch.float16
    assert tiny(half=True).tensors()["x"].dtype == torch.float32
    with pytest.raises(ValueError, match="half precision cannot hold"):
        tiny(lambda: {"a": torch.tensor([1e6])}, half=True).make_anew()


def test_nothing_larger_than_the_package_may_hold_is_kept(monkeypatch):
    monkeypatch.setattr(kept, "LARGEST", 100)
    with pytest.raises(ValueError, match="at most 100"):
        tiny().make_anew()
    record = tiny(keep=False).make_anew()
    assert record["kept"] is False and not tiny(keep=False).kept_file.exists()


def test_where_nothing_may_wait_a_stale_result_is_an_error_and_one_made_at_need_is_not(monkeypatch):
    monkeypatch.setenv("MMBOOK_NO_RECIPES", "1")
    with pytest.raises(kept.RecipeForbidden, match="tiny would have to be made anew"):
        tiny().tensors()
    assert tiny(keep=False).tensors()["a"].sum() == 15


def test_renewing_scores_what_only_reads_otherwise_and_asks_for_what_is_made_otherwise(monkeypatch):
    assert tiny().renew() == ""
    before = tiny().make_anew()
    assert tiny().renew() == "as it was"
    monkeypatch.setattr(Tiny, "reading", {"score.py": "2"})
    assert tiny().renew() == "scored anew"
    assert tiny().record["scored_by"] == {"score.py": "2"} and tiny().record["date"] == before["date"]
    assert calls == ["make", "score", "score"]
    monkeypatch.setattr(Tiny, "bounds", (0.0, 1.0))
    with pytest.raises(kept.ScoreOutside):
        tiny().renew()
    monkeypatch.setattr(Tiny, "bounds", (0.0, 20.0))
    assert tiny().renew() == "scored anew"
    monkeypatch.setattr(Tiny, "parts", {"model.py": "2"})
    assert tiny().renew() == ""
    tiny().tensors()  # a page made it
    assert tiny().renew() == "taken from the cache"
    assert tiny().stale() == "" and calls.count("make") == 2


def test_check_says_what_is_stale_and_why(monkeypatch, capsys):
    assert command.check({"tiny": tiny()}) == 1
    tiny().make_anew()
    assert command.check({"tiny": tiny()}) == 0
    monkeypatch.setattr(Tiny, "reading", {"score.py": "2"})
    assert command.check({"tiny": tiny()}) == 0
    monkeypatch.setattr(Tiny, "parts", {"model.py": "2"})
    assert command.check({"tiny": tiny()}) == 1
    lines = capsys.readouterr().out.splitlines()
    for line, said in zip(
        lines, ("never made", "as it was made", "scores to renew", "model.py ch"), strict=True
    ):
        assert said in line


def test_a_pedigree_says_where_and_with_what(apart):
    tiny().make_anew()
    record = json.loads((apart / "results/tiny.json").read_text())
    for name in ("date", "commit", "processor", "cpus", "threads", "lock", "torch", "python", "seconds"):
        assert name in record
    assert record["torch"] == torch.__version__
    assert set(pedigree.pedigree()) <= record.keys()


def test_a_recipe_starts_after_those_whose_results_it_needs():
    recipes = declared()
    assert command.needed(recipes["digit_pictures"], recipes.values()) >= {
        "digit_listener",
        "digit_voices_formant",
    }
    assert command.needed(recipes["filled_gaps"], recipes.values()) >= {"review_features_0", "perceiver_text"}
    assert command.needed(recipes["perceiver_text"], recipes.values()).isdisjoint({"perceiver_audio"})
    for name in recipes:  # or the run would never end
        assert name not in command.needed(recipes[name], recipes.values())


def test_an_unknown_recipe_is_refused_with_the_known_ones():
    done = subprocess.run(
        [sys.executable, "-m", "mmbook.book.recipes", "nothing"], capture_output=True, text=True
    )
    assert done.returncode == 2 and "no recipe is called 'nothing'" in done.stderr
    assert "clip_ladder" in done.stderr


def test_every_recipe_states_where_its_scores_must_lie():
    recipes = declared()
    table = tomllib.loads(kept.INTERVALS.read_text())
    assert sorted(table) == sorted(recipes)
    for recipe in recipes.values():
        assert recipe.within and all(low < high for low, high in recipe.within.values())
