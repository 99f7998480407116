"""The build: what runs again and what does not, what a failure says, and that the site is whole."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from mmbook.book.progress import ProgressLine
from tools import keys, store
from tools.pages import docname, notebooks, pages
from tools.render import HTML, inputs, is_current

ROOT = Path(__file__).resolve().parents[1]


# A page that starts a process, which fails as there is no such module here; and one that imports.
SHELL = "import subprocess, sys\nsubprocess.run([sys.executable, '-m', 'mmbook.app'], check=False);"
USES = "def model():\n    from mmbook.model import WIDTH\n    return WIDTH"


def write(path: Path, *code: str, prose: str = "# A page", tags: tuple[str, ...] = ()) -> None:
    """A notebook with a title and the given code cells."""
    cells = [new_markdown_cell(prose, id="title")]
    cells += [
        new_code_cell(source, id=f"c{i}", metadata={"tags": list(tags)}) for i, source in enumerate(code)
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A book of two notebooks beside a package of one file."""
    for folder in ("book", "mmbook", "requirements", "benchmarks"):
        (tmp_path / folder).mkdir()
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/first\nchapters:\n- file: book/second\n")
    (tmp_path / "mmbook/model.py").write_text("WIDTH = 1\n")
    (tmp_path / "mmbook/app.py").write_text("def main(): pass\n")
    (tmp_path / "requirements/lock.txt").write_text("numpy==2\n")
    (tmp_path / "benchmarks/cost.json").write_text("{}")
    write(tmp_path / "book/first.ipynb", "print(1)", SHELL)
    write(tmp_path / "book/second.ipynb", "print(2)", "open('cost.json')", USES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(module: str) -> tuple[int, str]:
    """Run a tool as the Makefile does, in the current project: its exit status and all it printed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", module], env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def all_keys() -> dict[str, str]:
    """The present key of each notebook of the project."""
    keys.read.cache_clear()
    return {docname(notebook): keys.notebook_key(notebook) for notebook in notebooks()}


@pytest.mark.parametrize(
    ("change", "stale"),
    [
        (lambda: write(Path("book/first.ipynb"), "print(1)", SHELL, prose="# Other words"), set()),
        (lambda: write(Path("book/first.ipynb"), "print(1)", SHELL, tags=("hide-input",)), set()),
        (lambda: write(Path("book/first.ipynb"), "print(10)", SHELL), {"book/first"}),
        (lambda: write(Path("book/first.ipynb"), "print(1)", SHELL, "print(1)"), {"book/first"}),
        (lambda: Path("benchmarks/cost.json").write_text("[]"), {"book/second"}),
        (lambda: Path("mmbook/model.py").write_text("WIDTH = 2\n"), {"book/second"}),
        (lambda: Path("mmbook/model.py").write_text("WIDTH = 1  # as before\n"), set()),
        (lambda: Path("mmbook/app.py").write_text("def main(): return 1\n"), {"book/first"}),
        (lambda: Path("mmbook/more.py").write_text("a = 1\n"), set()),
        (lambda: Path("requirements/lock.txt").write_text("numpy==3\n"), {"book/first", "book/second"}),
        (lambda: os.environ.update(MMBOOK_SCALE="gpu"), {"book/first", "book/second"}),
    ],
    ids=[
        "prose",
        "tags",
        "code",
        "a new cell",
        "benchmark",
        "an imported module",
        "a comment",
        "a module run as a process",
        "a module that nobody uses",
        "lock",
        "scale",
    ],
)
def test_key_follows_what_results_depend_on(project, monkeypatch, change, stale) -> None:
    """A key changes with the code, what it imports or runs, the benchmarks it names, the lock, the scale."""
    monkeypatch.setenv("MMBOOK_SCALE", "laptop")
    before = all_keys()
    change()
    after = all_keys()
    assert {name for name in before if before[name] != after[name]} == stale


def test_a_page_that_prints_source_depends_on_comments(project: Path) -> None:
    """Where source text is printed, a comment is part of a result."""
    write(project / "book/second.ipynb", "import inspect", USES, "print(inspect.getsource(model))")
    before = all_keys()
    Path("mmbook/model.py").write_text("WIDTH = 1  # wide\n")
    assert {name for name, key in all_keys().items() if key != before[name]} == {"book/second"}


CLI = """
import typer
app = typer.Typer()

@app.command()
def doctor():
    from mmbook.app.examine import found
    print(found)

@app.command()
def train():
    from mmbook.app.run import found
    print(found)
"""


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        ("!mmbook doctor", {"app/cli.py", "app/examine.py"}),
        ("%%bash\nmmbook train x.yaml", {"app/cli.py", "app/run.py"}),
        ("subprocess.run(['mmbook', 'doctor'])", {"app/cli.py", "app/examine.py"}),
        ("run([python, '-m', 'mmbook.app.cli', 'doctor'])", {"app/cli.py", "app/examine.py"}),
        ("run([python, '-m', 'mmbook.app.cli', *x])", {"app/cli.py", "app/examine.py", "app/run.py"}),
        ("!pip install mmbook", set()),
        ("print('mmbook')", set()),
    ],
)
def test_a_command_counts_as_an_import_of_what_it_runs(project: Path, command: str, parts: set[str]) -> None:
    """A page that calls the package's command depends on that command, and not on the others."""
    (project / "mmbook/app.py").unlink()
    (project / "mmbook/app").mkdir()
    (project / "mmbook/app/cli.py").write_text(CLI)
    for name in ("examine", "run"):
        (project / f"mmbook/app/{name}.py").write_text("found = 1\n")
    write(project / "book/first.ipynb", command)
    keys.read.cache_clear()
    assert set(keys.closure(Path("book/first.ipynb"))) == parts


@pytest.mark.parametrize(
    ("source", "rendered"),
    [
        ('def f(x=1):\n    """Adds."""\n    return x + 2  # more\n', False),
        ('def f(x=1):\n    """Adds two."""\n    return x + 1\n', True),
        ('def f(x=2):\n    """Adds."""\n    return x + 1\n', True),
        ('def f(x=1):\n    """Adds."""\n    return x + 1\n\ndef g(): ...\n', True),
    ],
    ids=["inside a function", "docstring", "signature", "a new function"],
)
def test_a_change_renders_pages_only_where_they_show_it(project: Path, source: str, rendered: bool) -> None:
    """Of the package, what the API page prints is an input of the render."""
    (project / "book/api.md").write_text("# Names\n\n```{eval-rst}\n.. autofunction:: mmbook.model.f\n```\n")
    (project / "_toc.yml").write_text("format: jb-book\nroot: book/first\nchapters:\n- file: book/api\n")
    (project / "mmbook/model.py").write_text('def f(x=1):\n    """Adds."""\n    return x + 1\n')
    keys.read.cache_clear()
    before = inputs()
    (project / "mmbook/model.py").write_text(source)
    (project / "mmbook/app.py").write_text("def main():\n    'Now with words.'\n")
    keys.read.cache_clear()
    assert (inputs() != before) == rendered


def test_failure_is_named_and_the_rest_is_kept(project: Path) -> None:
    """A failing cell is named at the end; what passed is kept, so then only the mended notebook runs."""
    write(project / "book/second.ipynb", "a = 0", "1 / a", "print('never')")
    status, said = run("tools.execute")
    assert status == 1
    assert "1 of 2 notebooks failed" in said
    last = "\n".join(said.splitlines()[-2:])
    assert "book/second.ipynb, code cell 2" in last
    assert "ZeroDivisionError: division by zero" in last

    write(project / "book/second.ipynb", "a = 1", "1 / a", "print('now')")
    status, said = run("tools.execute")
    assert status == 0, said
    assert "1 to run, 1 up to date" in said
    assert "passed book/second.ipynb" in said

    status, said = run("tools.execute")
    assert status == 0, said
    assert "0 to run, 2 up to date" in said
    assert len(list((project / store.EXECUTED).glob("*.ipynb"))) == 2, "copies of older code were not pruned"


def test_the_estimate_follows_the_recorded_times() -> None:
    """What is left takes what was recorded, at the pace so far; a job without a record takes the mean."""
    progress = ProgressLine("jobs", {"a": 10.0, "b": 20.0, "c": None}, jobs=1)
    assert progress.left() == pytest.approx(45.0)
    progress.started("a")
    progress.began["a"] -= 20.0  # twice as slow as recorded
    progress.done("a", "made a")
    assert progress.left() == pytest.approx(70.0, abs=1.0)
    assert progress.line().startswith("1 of 3 jobs done")


def test_a_log_gets_a_line_while_a_job_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal a line comes at every turn, and one at the end of each job."""
    with ProgressLine("jobs", {"a": 10.0}, jobs=1, every=0.01) as progress:
        progress.started("a")
        while "now a" not in (said := capsys.readouterr().out):
            pass
        progress.done("a", "made a")
    assert "0 of 1 jobs done" in said and "to go" in said
    assert "[1/1] made a" in capsys.readouterr().out


def test_tests_say_how_far_they_are(tmp_path: Path) -> None:
    """Every so often a line with how many of how many are done, also where several processes run them."""
    (tmp_path / "test_slow.py").write_text(
        "import time\n\ndef test_a(): time.sleep(0.1)\n\ndef test_b(): pass\n"
    )
    (tmp_path / "often.py").write_text("from tools import progress_of_tests as p\np.EVERY = 0.0\n")
    command = [sys.executable, "-m", "pytest", "-p", "often", "-p", "tools.progress_of_tests", "-n", "2"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    for _ in range(2):  # the second time with the times of the first
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "2 of 2 tests done" in done.stdout and "about 0 s to go" in done.stdout


def test_dead_kernel_is_named(project: Path) -> None:
    """A kernel that dies, as when memory runs out, is reported by notebook and cell."""
    write(project / "book/second.ipynb", "a = 0", "import os; os._exit(9)")
    status, said = run("tools.execute")
    assert status == 1
    assert "book/second.ipynb, code cell 2" in said
    assert "the kernel died" in said


def test_missing_page_is_named(project: Path) -> None:
    """An entry of the table of contents without a file stops the build, by name."""
    (project / "book/second.ipynb").unlink()
    status, said = run("tools.execute")
    assert status == 1
    assert "book/second" in said
    assert "Traceback" not in said


def test_render_refuses_what_was_not_executed(project: Path) -> None:
    """The render executes nothing: a page without an executed copy stops it, by name."""
    status, said = run("tools.render")
    assert status == 1
    assert "not executed, so not rendered: book/first.ipynb, book/second.ipynb" in said


def test_render_is_strict(project: Path) -> None:
    """A link that leads nowhere fails the render, with its page and line."""
    for name in ("_config.yml", "book/_ext", "book/references.bib", "book/_static"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copyfile
        copy(ROOT / name, project / name)
    write(project / "book/second.ipynb", "print(2)", prose="# A page\n\nSee {ref}`nowhere`.")
    status, said = run("tools.execute")
    assert status == 0, said
    status, said = run("tools.render")
    assert status == 1
    assert "book/second.ipynb" in said
    assert "nowhere" in said

    results = project / keys.RESULTS
    results.mkdir(parents=True)
    record = {
        "date": "2026-11-30",
        "commit": "abcdef0" + 33 * "1" + " with uncommitted changes",
        "seconds": 250,
        "threads": 1,
        "processor": "a CPU",
        "kept": True,
    }
    for name in ("tiny_one", "tiny_two", "half_one"):
        (results / f"{name}.json").write_text(json.dumps(record))
    (results / "half_two.json").write_text(json.dumps(record | {"kept": False, "seconds": 7}))
    prose = "# A page\n\nSee {doc}`first`.\n\n```{kept} tiny half\n```"
    write(project / "book/second.ipynb", "print(2)", prose=prose)
    status, said = run("tools.execute")
    assert status == 0
    assert "0 to run" in said, "a change of prose made a notebook run again"
    status, said = run("tools.render")
    assert status == 0, said
    assert "2 rendered" in said
    page = (project / HTML / "book/second.html").read_text(encoding="utf-8")
    assert "The results of tiny, half_one are kept" in page and "30 November 2026 in 12 min" in page
    assert "at commit abcdef0 with uncommitted changes." in page
    assert "half_two does not come with the package and is made where first needed, in 7 s." in page
    assert "unchanged" in run("tools.render")[1]


@pytest.fixture(scope="module")
def site() -> Path:
    """The rendered book of this repository."""
    assert is_current(inputs()), (
        "the rendered book is missing or older than its sources: run `make book` first"
    )
    return HTML


@pytest.mark.site
@pytest.mark.parametrize("notebook", notebooks(), ids=docname)
def test_every_notebook_ran_as_it_is_now(notebook: Path, site: Path) -> None:
    """The page comes from an execution of exactly this code, with what it imports and this lock."""
    assert store.has(keys.notebook_key(notebook))
    assert store.recorded_seconds()[docname(notebook)] >= 0


class Links(HTMLParser):
    """Collects what a page links to and loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note every address."""
        self.found += [value for name, value in attrs if name in ("href", "src") and value]


@pytest.mark.site
@pytest.mark.parametrize("page", [docname(page) for page in pages()])
def test_local_links_lead_to_files(page: str, site: Path) -> None:
    """Every picture, script and page that a page names on this site is there."""
    parser = Links()
    path = site / f"{page}.html"
    parser.feed(path.read_text(encoding="utf-8"))
    parts = [urlsplit(link) for link in parser.found]
    local = [unquote(part.path) for part in parts if not part.scheme and not part.netloc and part.path]
    assert local
    assert [link for link in local if not (path.parent / link).exists()] == []
