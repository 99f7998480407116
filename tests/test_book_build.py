"""The build: what runs again and what does not, what a failure says, and that the site is whole."""

from __future__ import annotations

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

from tools import keys, store
from tools.pages import docname, notebooks, pages
from tools.render import HTML, inputs, is_current

ROOT = Path(__file__).resolve().parents[1]


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
    (tmp_path / "requirements/lock.txt").write_text("numpy==2\n")
    (tmp_path / "benchmarks/cost.json").write_text("{}")
    write(tmp_path / "book/first.ipynb", "print(1)")
    write(tmp_path / "book/second.ipynb", "print(2)", "open('cost.json')")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(module: str) -> tuple[int, str]:
    """Run a tool as the Makefile does, in the current project: its exit status and all it printed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", module], env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def all_keys() -> dict[str, str]:
    """The present key of each notebook of the project."""
    shared = keys.shared_key()
    return {docname(notebook): keys.notebook_key(notebook, shared) for notebook in notebooks()}


@pytest.mark.parametrize(
    ("change", "stale"),
    [
        (lambda: write(Path("book/first.ipynb"), "print(1)", prose="# Other words"), set()),
        (lambda: write(Path("book/first.ipynb"), "print(1)", tags=("hide-input",)), set()),
        (lambda: write(Path("book/first.ipynb"), "print(10)"), {"book/first"}),
        (lambda: write(Path("book/first.ipynb"), "print(1)", "print(1)"), {"book/first"}),
        (lambda: Path("benchmarks/cost.json").write_text("[]"), {"book/second"}),
        (lambda: Path("mmbook/model.py").write_text("WIDTH = 2\n"), {"book/first", "book/second"}),
        (lambda: Path("mmbook/more.toml").write_text("a = 1\n"), {"book/first", "book/second"}),
        (lambda: Path("requirements/lock.txt").write_text("numpy==3\n"), {"book/first", "book/second"}),
        (lambda: os.environ.update(MMBOOK_SCALE="gpu"), {"book/first", "book/second"}),
    ],
    ids=["prose", "tags", "code", "a new cell", "benchmark", "package", "package data", "lock", "scale"],
)
def test_key_follows_what_results_depend_on(project, monkeypatch, change, stale) -> None:
    """A key changes with the code, the benchmarks it names, the package, the lock, the scale; no more."""
    monkeypatch.setenv("MMBOOK_SCALE", "laptop")
    before = all_keys()
    change()
    after = all_keys()
    assert {name for name in before if before[name] != after[name]} == stale


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
    assert run("tools.execute")[0] == 0
    status, said = run("tools.render")
    assert status == 1
    assert "book/second.ipynb" in said
    assert "nowhere" in said

    write(project / "book/second.ipynb", "print(2)", prose="# A page\n\nSee {doc}`first`.")
    status, said = run("tools.execute")
    assert status == 0
    assert "0 to run" in said, "a change of prose made a notebook run again"
    status, said = run("tools.render")
    assert status == 0, said
    assert "2 rendered" in said
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
    """The page comes from an execution of exactly this code, with this package and this lock."""
    assert store.has(keys.notebook_key(notebook, keys.shared_key()))
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
