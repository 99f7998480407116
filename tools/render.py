"""Render the executed notebooks as a site, strictly: any warning fails, and nothing is executed here."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
from filelock import FileLock
from jupyter_cache import get_cache

from tools import Stop, run_main, store
from tools.keys import BENCHMARKS, LOCK, RESULTS, digest, files_under, shown
from tools.pages import TOC, docname, notebooks, pages

BUILD = Path("_build")
HTML = BUILD / "html"
LOG = BUILD / "render.log"
STAMP = BUILD / "rendered"
PROBLEM = re.compile(r"\b(WARNING|ERROR|CRITICAL|Exception)\b")


def main() -> None:
    """Render unless nothing changed since the last render that passed; say where the book is."""
    BUILD.mkdir(exist_ok=True)
    with FileLock(store.ROOT / "execute.lock"):
        start = time.perf_counter()
        wanted = inputs()
        if is_current(wanted):
            print(f"Pages: {len(pages())}, unchanged since they were rendered")
        else:
            STAMP.unlink(missing_ok=True)
            check_executed()
            print(f"Pages: rendering {len(pages())} (less than a minute)", flush=True)
            render()
            STAMP.write_text(wanted)
            print(f"Pages: {len(pages())} rendered in {time.perf_counter() - start:.0f} s")


def inputs() -> str:
    """Hash of all that the pages are made from: of the package's sources, what the pages show of them."""
    files = files_under(Path("book"), BENCHMARKS) + sorted(RESULTS.glob("*.json"))
    single = [
        Path("_config.yml"),
        TOC,
        LOCK,
        Path("package-lock.json"),
        store.RUNTIMES,
        *sorted(Path().glob("*.md")),
    ]
    return digest([*files, *(path for path in single if path.is_file())]) + str(shown(pages()))


def is_current(wanted: str) -> bool:
    """Whether the site on disk was rendered from exactly these inputs, and is complete."""
    return STAMP.is_file() and STAMP.read_text() == wanted and not missing_pages()


def missing_pages() -> list[str]:
    """Pages of the table of contents that the site lacks."""
    return [docname(page) for page in pages() if not (HTML / f"{docname(page)}.html").is_file()]


def check_executed() -> None:
    """Stop, naming them, if notebooks have no executed copy in the cache the render reads."""
    cache = get_cache(store.CACHE)
    absent = []
    for notebook in notebooks():
        try:
            cache.match_cache_notebook(nbformat.read(notebook, as_version=4))
        except KeyError:
            absent.append(str(notebook))
    if absent:
        raise Stop(
            f"not executed, so not rendered: {', '.join(absent)}\nrun `make book`, which executes first"
        )


def render() -> None:
    """Run Jupyter Book over everything, and prove from its log that each notebook came from the cache."""
    shutil.rmtree(HTML, ignore_errors=True)
    command = [
        str(Path(sys.executable).with_name("jupyter-book")),
        "build",
        ".",
        "--all",
        "-W",
        "-n",
        "--keep-going",
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    log = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    LOG.write_text(log)
    if done.returncode:
        problems = [line for line in log.splitlines() if PROBLEM.search(line)] or log.splitlines()[-15:]
        raise Stop("\n".join(["the render failed:", *problems, f"(whole log: {LOG})"]))
    for notebook in notebooks():
        name = docname(notebook)
        lines = [line for line in log.splitlines() if name in line]
        if any("Executing notebook" in line for line in lines) or not any(
            "Using cached notebook" in line for line in lines
        ):
            raise Stop(f"{notebook} did not come from the executed copies (see {LOG})")
    if absent := missing_pages():
        raise Stop(f"rendered, but without these pages: {', '.join(absent)} (see {LOG})")


if __name__ == "__main__":
    run_main(main)
