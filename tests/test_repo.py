"""The public address, the lists of dependencies, and what must never stand in a file."""

from __future__ import annotations

import itertools
import re
import shutil
import tomllib
from pathlib import Path

import pytest
import yaml

import mmbook
from tools import Stop, repo

ROOT = Path(__file__).resolve().parents[1]
# In two parts: as one word it would itself be rewritten on the way back.
OWNER, NAME = "jane-doe", "multi.modal_book"
OTHER = f"https://github.com/{OWNER}/{NAME}"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of everything that people write in this repository."""
    for path in repo.files(ROOT):
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return tmp_path


def contents(root: Path) -> dict[str, bytes]:
    """Every file's bytes, by its path."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in repo.files(root)}


def test_no_stray_address(copy: Path) -> None:
    """After a change of address the old one stands nowhere, in no form; exactly its places changed."""
    owner, name = repo.split(repo.current(copy))
    stray = re.compile(
        rf"{re.escape(owner)}/{re.escape(name)}(?![\w-])|{re.escape(owner)}\.github\.io".encode()
    )
    had = {path for path, content in contents(copy).items() if stray.search(content)}
    changed = {path.relative_to(copy).as_posix() for path in repo.rewrite(copy, OTHER)}
    assert {"pyproject.toml", "_config.yml", "CITATION.cff", "README.md"} <= changed
    assert [path for path, content in contents(copy).items() if stray.search(content)] == []
    assert had == changed
    assert repo.current(copy) == OTHER


def test_address_round_trip(copy: Path) -> None:
    """There and back again changes no byte."""
    before, home = contents(copy), repo.current(copy)
    repo.rewrite(copy, OTHER)
    assert contents(copy) != before
    repo.rewrite(copy, home)
    assert contents(copy) == before


@pytest.mark.parametrize(
    "url", ["github.com/a/b", "https://github.com/a", "https://github.com/a/b.git", "https://x.org/a/b"]
)
def test_bad_addresses_are_refused(copy: Path, url: str) -> None:
    """What is not the address of a GitHub repository changes nothing."""
    before = contents(copy)
    with pytest.raises(Stop, match=re.escape(url)):
        repo.rewrite(copy, url)
    assert contents(copy) == before


def test_publishing_needs_the_right_address() -> None:
    """The check that the publishing workflow runs passes for our address and stops for any other."""
    repo.main(["--is", repo.current()])
    with pytest.raises(Stop, match="install code from there"):
        repo.main(["--is", OTHER])


def test_publish_workflow_checks_the_address_first() -> None:
    """No step of the publishing workflow comes before the check, except the checkout it needs."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/publish.yml").read_text(encoding="utf-8"))
    first, *others = workflow["jobs"]
    steps = workflow["jobs"][first]["steps"]
    assert "uses" in steps[0] and "tools.repo --is" in steps[1]["run"]
    assert all(first in str(workflow["jobs"][job]["needs"]) for job in others)


def test_conda_environment_is_in_step() -> None:
    """environment.yml asks for the same packages and bounds as pyproject.toml."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    extras = PROJECT["optional-dependencies"]
    assert sorted(pip) == sorted({*PROJECT["dependencies"], *extras["book"], *extras["chapters"]})
    python = next(entry for entry in environment["dependencies"] if str(entry).startswith("python"))
    assert python.removeprefix("python").startswith(PROJECT["requires-python"])


def test_citation_and_changelog_name_this_version() -> None:
    """The version stands once in each place, and is the same."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"] == mmbook.__version__
    assert citation["repository-code"] == repo.current(ROOT)
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_only_lower_bounds() -> None:
    """An installation beside somebody's torch must not replace it, so the package pins and caps nothing."""
    extras = PROJECT["optional-dependencies"]
    for requirement in [
        *PROJECT["dependencies"],
        *extras["chapters"],
        *extras["detection"],
        *extras["train"],
    ]:
        assert re.fullmatch(r"[A-Za-z0-9_.-]+>=[0-9.]+", requirement), requirement


@pytest.mark.parametrize("lock", ["requirements/lock.txt", "requirements/bootstrap.txt"])
def test_lock_is_hashed_and_names_no_host(lock: str) -> None:
    """Each package of a lock has a hash; where to get it is the reader's choice, so no lock says."""
    text = (ROOT / lock).read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=\S)", text.strip())
    assert blocks
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []
    assert not re.search(r"https?://|^(--)?(extra-)?index-url|find-links", text, re.MULTILINE)


def test_npm_lock_is_hashed_and_names_no_host() -> None:
    """The same for the browser files."""
    lock = (ROOT / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in lock
    assert lock.count('"integrity"') == lock.count('"node_modules/')


def test_lock_covers_pyproject() -> None:
    """Every direct dependency is in the lock."""
    locked = set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / "requirements/lock.txt").read_text(), re.MULTILINE))
    extras = PROJECT["optional-dependencies"]
    names = {
        re.split(r"[><=\[ ;]", requirement)[0].lower().replace("_", "-")
        for requirement in [*PROJECT["dependencies"], *itertools.chain(*extras.values())]
    }
    assert names - locked == set()


def test_no_path_of_a_machine() -> None:
    """No file names a home directory: such a path works for one person only."""
    home = re.compile(rb"/(?:home|Users)/[a-z]\w*/|C:\\\\Users")
    assert [
        path
        for path, content in contents(ROOT).items()
        if home.search(content) and path != "tests/test_repo.py"
    ] == []
