"""What a result is made by: the closure follows names; a key moves with what decides, and with no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmbook.book.closure import Package, changes, package
from mmbook.book.syntax import Module
from tools import keys
from tools.pages import notebooks

FILES = {
    "__init__.py": """
        from mmbook.scale import scale
        _HOME = {"Trainer": "train"}
        def __getattr__(name):
            return _HOME[name]
        """,
    "scale.py": "def scale(): return 'laptop'",
    "train.py": "class Trainer: pass",
    "assets.py": "def path(name): pass\ndef registry(): return 'assets.toml'",
    "assets.toml": "[minilm]\nsha256 = 'aa'\n[mnist]\nsha256 = 'bb'\n",
    "bert.py": """
        from mmbook import assets
        class Bert:
            def minilm(self): return assets.path("minilm")
        """,
    "gru.py": "class GRU: pass",
    "lstm.py": "class LSTM: pass",
    "encoders/__init__.py": """
        from mmbook.bert import Bert
        from mmbook.gru import GRU
        from mmbook.lstm import LSTM
        ENCODERS = {"bert": Bert, "gru": GRU, "lstm": LSTM}
        def build(name): return ENCODERS[name]()
        def other(): return 1
        """,
    "evaluate/__init__.py": "from mmbook.evaluate.ci import interval\nfrom mmbook.evaluate.auc import auroc",
    "evaluate/ci.py": "def interval(x): return x",
    "evaluate/auc.py": "def auroc(x): return x",
    "words.py": """
        from pathlib import Path
        TABLE = Path(__file__).with_name("words.csv")
        """,
    "words.csv": "a,b\n",
    "app/__init__.py": "",
    "app/cli.py": "import mmbook.gru\nx = mmbook.gru.GRU",
    "recipe.py": """
        from mmbook import evaluate
        from mmbook.encoders import build
        def make():
            from mmbook.words import TABLE
            return build("gru"), TABLE
        def score(result):
            return evaluate.interval(result)
        """,
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A package of a few modules."""
    for name, text in FILES.items():
        write(tmp_path / "mmbook", name, text)
    return tmp_path / "mmbook"


def write(root: Path, name: str, text: str) -> None:
    """A file of the package, its text without the common indentation."""
    import textwrap

    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(textwrap.dedent(text))


ENCODERS = {"encoders/__init__.py", "bert.py", "gru.py", "lstm.py", "asset minilm"}


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("from mmbook.encoders import GRU\nGRU()", {"gru.py"}),
        ("from mmbook.encoders import GRU", set()),  # never used
        ("from mmbook import encoders\nencoders.GRU()", {"gru.py"}),
        ("from mmbook import encoders\nuse(encoders)", ENCODERS),
        ("import mmbook\nmmbook.evaluate.interval(1)", {"evaluate/ci.py"}),
        ("import mmbook\nmmbook.scale()", {"scale.py"}),
        ("import mmbook\nmmbook.Trainer", {"train.py"}),  # loaded late
        ("from mmbook import Trainer\nTrainer()", {"train.py"}),
        ("def f():\n    from mmbook.lstm import LSTM\n    return LSTM", {"lstm.py"}),
        ("from mmbook.encoders import other\nother()", {"encoders/__init__.py"}),
        ("from mmbook.encoders import build\nbuild('gru')", {"encoders/__init__.py", "gru.py"}),
        ("from mmbook.encoders import ENCODERS\nlist(ENCODERS)", ENCODERS),
        ("run([python, '-m', 'mmbook.app.cli'])", {"app/cli.py", "gru.py"}),
        ("run('python -m mmbook.app.cli doctor')", {"app/cli.py", "gru.py"}),
        ("open('x').write('''from mmbook.lstm import LSTM\nLSTM()''')", {"lstm.py"}),
        ("import importlib.util\nimportlib.util.find_spec('mmbook')", set()),
        ("from mmbook.words import TABLE\nTABLE", {"words.py", "words.csv"}),
        ("from mmbook import assets\nassets.path('mnist')", {"asset mnist"}),
        ("from mmbook import assets\nassets.registry()", {"assets.py", "assets.toml"}),
    ],
)
def test_what_a_piece_of_code_leads_to(root, code, expected):
    assert set(Package(root).of_code(code)) == expected


def test_type_checkers_imports_and_annotations_lead_nowhere(root):
    code = """
from typing import TYPE_CHECKING
from mmbook.gru import GRU
if TYPE_CHECKING:
    from mmbook.lstm import LSTM
def f(x: GRU) -> "LSTM":
    y: GRU = x
    return y
"""
    assert Package(root).of_code(code) == {}


def test_a_recipe_is_taken_by_its_functions(root):
    made, scored = (Package(root).of_names("mmbook.recipe", [name]) for name in ("make", "score"))
    assert set(made) == {"recipe.py", "encoders/__init__.py", "gru.py", "words.py", "words.csv"}
    assert set(scored) == {"recipe.py", "evaluate/ci.py"}
    assert made["recipe.py"] != scored["recipe.py"]
    with pytest.raises(ValueError, match="no top-level 'mak'.*make, score"):
        Package(root).of_names("mmbook.recipe", ["mak"])


UNCHANGED = {
    "a comment": ("gru.py", "# a net\nclass GRU: pass  # gated"),
    "a docstring": ("gru.py", '"""A file."""\nclass GRU:\n    """A net."""'),
    "formatting": ("gru.py", "class GRU:\n\n    pass\n"),
    "an annotation": ("words.py", FILES["words.py"].replace("TABLE =", "TABLE: Path =")),
    "another module": ("lstm.py", "class LSTM: width = 1"),
    "one more encoder": (
        "encoders/__init__.py",
        FILES["encoders/__init__.py"].replace('"lstm": LSTM', '"lstm": LSTM, "again": LSTM'),
    ),
    "another name in an __init__": (
        "encoders/__init__.py",
        FILES["encoders/__init__.py"].replace("return 1", "return 2"),
    ),
    "the reading function": ("recipe.py", FILES["recipe.py"].replace("interval(result)", "interval(2)")),
    "another asset": ("assets.toml", FILES["assets.toml"].replace("bb", "cc")),
    "how assets are had": ("assets.py", FILES["assets.py"] + "\nTRIES = 3"),
}
CHANGED = {
    "a class": ("gru.py", "class GRU: width = 1"),
    "a class's annotation, which makes a field": ("gru.py", "class GRU:\n    width: int"),
    "anything in a module that is used": ("gru.py", "class GRU: pass\nWIDTH = 1"),
    "a lazily imported module": ("words.py", FILES["words.py"] + "\n        N = 1"),
    "a file beside it": ("words.csv", "a,c\n"),
    "a function in an __init__": (
        "encoders/__init__.py",
        FILES["encoders/__init__.py"].replace("[name]()", "[name]"),
    ),
    "the making function": ("recipe.py", FILES["recipe.py"].replace('build("gru")', 'build("gru"), 1')),
    "which name is imported": (
        "recipe.py",
        FILES["recipe.py"].replace("import build", "import other as build"),
    ),
}


@pytest.mark.parametrize("what", UNCHANGED)
def test_a_key_stays(root, what):
    before = Package(root).of_names("mmbook.recipe", ["make"])
    write(root, *UNCHANGED[what])
    assert Package(root).of_names("mmbook.recipe", ["make"]) == before


@pytest.mark.parametrize("what", CHANGED)
def test_a_key_moves(root, what):
    before = Package(root).of_names("mmbook.recipe", ["make"])
    write(root, *CHANGED[what])
    after = Package(root).of_names("mmbook.recipe", ["make"])
    assert after != before
    assert changes(before, after)


def test_a_loops_variable_is_no_name_of_the_module(root):
    write(root, "other.py", "def make(x): return x\ndef score(): pass\nBOTH = {x: score for x in (1, 2)}")
    before = Package(root).of_names("mmbook.other", ["make"])
    write(root, "other.py", "def make(x): return x\ndef score(): return 1\nBOTH = {x: score for x in (1, 2)}")
    assert Package(root).of_names("mmbook.other", ["make"]) == before


def test_an_assets_hash_counts(root):
    code = "from mmbook.encoders import Bert\nBert()"
    before = Package(root).of_code(code)
    write(root, "assets.toml", FILES["assets.toml"].replace("aa", "dd"))
    assert changes(before, Package(root).of_code(code)) == "asset minilm changed"


def test_reasons_name_at_most_three_parts():
    before = {"a": "1", "b": "1", "c": "1", "d": "1"}
    assert changes(before, before) == ""
    assert changes(before, before | {"a": "2", "e": "1"}) == "a changed, e is used now"
    assert changes(before, {"a": "1"}).endswith("d is no longer used")
    assert changes(before, dict.fromkeys(before, "2")) == "a changed, b changed, c changed and 1 more"


def test_the_hash_of_a_tree_is_no_matter_of_how_a_string_is_written():
    texts = ("x = f'{a:<{w}}' 'b'", 'x = f"{a:<{w}}b"', "x = (\n    f'{a:<{w}}'\n    'b')")
    assert len({Module("m", text).hash for text in texts}) == 1
    assert Module("m", "x = 1").hash != Module("m", "x = 2").hash


# --- the package itself


def test_the_listener_is_made_by_all_sources_of_its_training_voices():
    from mmbook.book.recipes.digits import RECIPE

    voices = {"spoken_digits", "formant_voices", "digits", "splits"}
    assert {f"book/datasets/{name}.py" for name in voices} <= RECIPE.made_by.keys()
    assert {"seeding.py", "train/trainer.py", "book/voice_augment.py"} <= RECIPE.made_by.keys()


def test_the_perceivers_are_made_by_the_file_where_their_fusion_is_built():
    from mmbook.book.recipes.perceivers import RECIPES

    for name, recipe in RECIPES.items():
        assert {"fusion/__init__.py", "fusion/concat.py"} <= recipe.made_by.keys(), name
    assert {"asset minilm", "asset movie-reviews"} <= RECIPES["text"].made_by.keys()
    assert "book/datasets/faces.csv" in RECIPES["image"].made_by


def test_no_recipe_is_made_by_the_command_line():
    from mmbook.book.recipes import declared

    for name, recipe in declared().items():
        assert not [part for part in recipe.made_by if part.startswith("app/")], name


def test_no_two_files_of_the_book_need_each_other():
    names = package().under("mmbook.book")
    needs = {name: package().imports(name) for name in names}

    def reached(name: str) -> set[str]:
        seen: set[str] = set()
        todo = [name]
        while todo:
            todo += (new := needs.get(todo.pop(), set()) - seen)
            seen |= new
        return seen

    assert [name for name in names if name in reached(name)] == []


def test_a_change_of_the_command_line_runs_no_page_but_those_that_call_it() -> None:
    """And of these a command counts alone, with what it uses."""
    calls = {}
    for notebook in notebooks():
        parts = {part for part in keys.closure(notebook) if part.startswith("app/")}
        if parts:
            calls[notebook.stem] = parts
    assert "app/doctor.py" in calls.pop("environment") and calls == {}


@pytest.mark.parametrize(
    ("code", "called"),
    [
        ('all(map(find_spec, ("mmbook", "hibari")))', []),
        ("!mmbook train config.yaml", ["train"]),
        ('subprocess.run(["mmbook", "doctor"])', ["doctor"]),
        ('[sys.executable, "-m", "mmbook.app.cli", "train", "--help"]', ["train"]),
        ('run(["mmbook", what])', None),
    ],
)
def test_the_commands_that_code_calls(code: str, called: list[str] | None) -> None:
    wanted = [keys.CLI] if called is None else [f"{keys.CLI}.{name}" for name in called]
    assert keys.commands(code) == wanted
