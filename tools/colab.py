"""Run a notebook as Colab would: beside a torch that is there, from the notebook's own first cell.

Git is told to fetch the public address from a copy of this working tree, so nothing has to be pushed first.
Needs the network: pip gets the package's other dependencies from the index.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tools import Stop, repo, run_main, store
from tools.keys import LOCK

# What Colab has and the package must leave alone.
GIVEN = ("torch", "torchvision", "torchaudio", "transformers")
NOTEBOOK = Path("book/code/complete_model.ipynb")
HOME = store.ROOT / "colab"
PYTHON = HOME / "env/bin/python"


def main(notebook: Path) -> None:
    """Make the environment, run the notebook in an empty folder, compare versions before and after."""
    if not notebook.is_file():
        raise Stop(f"{notebook} does not exist; name a notebook: make colab NOTEBOOK=book/intro.ipynb")
    start = time.perf_counter()
    shutil.rmtree(HOME, ignore_errors=True)
    make_environment()
    source = commit_working_tree(HOME / "source")
    before = versions()
    if "mmbook" in before:
        raise Stop("the trial environment has mmbook already: it proves nothing")
    execute(notebook, source)
    after = versions()
    if "mmbook" not in after:
        raise Stop(f"{notebook} ran without installing mmbook: it was found somewhere else")
    changed = [
        f"{name} {before[name]} -> {after.get(name)}" for name in before if after.get(name) != before[name]
    ]
    if changed:
        raise Stop(f"the first cell changed what was there: {', '.join(changed)}")
    kept = ", ".join(f"{name} {before[name]}" for name in GIVEN)
    print(f"{notebook} runs as in Colab; unchanged: {kept} ({time.perf_counter() - start:.0f} s)")


def make_environment() -> None:
    """A fresh environment with pip, Jupyter and what Colab has, in the versions of the lock."""
    lock = LOCK.read_text(encoding="utf-8")
    pins = [re.search(rf"^{name}==\S+", lock, re.MULTILINE) for name in GIVEN]
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "-q", "--seed", "--python", sys.executable, str(HOME / "env")], check=True)
    wanted = [*(pin[0] for pin in pins if pin), "jupyter"]
    subprocess.run([*uv, "pip", "install", "-q", "--python", str(PYTHON), *wanted], check=True)


def commit_working_tree(folder: Path) -> Path:
    """A repository of one commit that holds this working tree as it is now, without ignored files."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and Path(name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(name, folder / name)
    git = ["git", "-C", str(folder), "-c", "user.name=trial", "-c", "user.email=trial@localhost"]
    for command in (["init", "-q", "-b", "main"], ["add", "-A"], ["commit", "-q", "-m", "Working tree"]):
        subprocess.run([*git, *command], check=True)
    return folder.resolve()


def execute(notebook: Path, source: Path) -> None:
    """Run all cells with the trial environment's own kernel, far from this repository's package."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "JUPYTER", "VIRTUAL_ENV"))
    }
    environment |= {
        "PATH": f"{PYTHON.parent.resolve()}{os.pathsep}{os.environ['PATH']}",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{source.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": repo.current(),
        "TQDM_DISABLE": "1",
        "MMBOOK_NO_RECIPES": "1",  # a reader must not wait for a training that the package says it keeps
    }
    work = HOME / "content"
    work.mkdir()
    shutil.copy(notebook, work / notebook.name)
    jupyter = str(PYTHON.absolute().with_name("jupyter"))
    command = [jupyter, "execute", "--inplace", "--kernel_name=python3", notebook.name]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise Stop(f"{notebook} failed as in Colab:\n" + "\n".join(done.stderr.splitlines()[-25:]))


def versions() -> dict[str, str]:
    """Version of each of the given packages, and of mmbook if it is there, as pip sees them."""
    command = [str(PYTHON), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
    listed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {
        package["name"]: package["version"] for package in listed if package["name"] in (*GIVEN, "mmbook")
    }


if __name__ == "__main__":
    run_main(main, Path(sys.argv[1]) if len(sys.argv) > 1 else NOTEBOOK)
