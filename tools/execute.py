"""Execute each notebook of the book once, two at a time, and keep what ran for the render and the tests.

Copies run under ``pytest --nbmake``; an executed copy is stored by the key of all it depends on (tools.keys),
so the next run executes only what changed. Then the cache that the render reads is filled from the store.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple

import nbformat
import psutil
from filelock import FileLock

from mmbook.book.progress import ProgressLine
from tools import SLOW, Stop, run_main, store
from tools.failure import RUNNING, describe
from tools.keys import BENCHMARKS, LOCK, closure, notebook_key
from tools.pages import docname, notebooks

# nbmake leaves out any path that holds `_build`, so the copies run elsewhere.
RUN = store.ROOT / "run"
# Settings of the kernels, so that those of the person who builds play no part.
KERNEL = store.ROOT / "kernel"
JOBS = int(os.environ.get("JOBS", "2"))
# One thread each: two notebooks with two threads each on two cores would wait for each other.
THREADS = int(os.environ.get("THREADS", "1"))
CELL_SECONDS = 900
# As python -m pytest, but for a module that takes long to load, and that no notebook needs: see tools.
PYTEST = f"import sys; sys.modules[{SLOW!r}] = None; import pytest; sys.exit(pytest.main())"


class Run(NamedTuple):
    """One executed notebook: the copy with its outputs, its costs, and pytest's output if it failed."""

    copy: Path
    seconds: float
    memory_mb: int
    log: str


def main() -> None:
    """Execute what is not stored yet; stop with a short list if a cell failed."""
    store.ROOT.mkdir(exist_ok=True)
    with FileLock(store.ROOT / "execute.lock"):
        keys = {notebook: notebook_key(notebook) for notebook in notebooks()}
        todo = [notebook for notebook, key in keys.items() if not store.has(key)]
        print(
            f"Notebooks: {len(keys)} in the book, {len(todo)} to run, {len(keys) - len(todo)} up to date",
            flush=True,
        )
        failures = run_all(todo, keys) if todo else []
        if failures:
            raise Stop("\n".join(["", f"{len(failures)} of {len(keys)} notebooks failed:", *failures]))
        store.prune(set(keys.values()))
        store.publish(keys)


def run_all(todo: list[Path], keys: dict[Path, str]) -> list[str]:
    """Run notebooks, longest first by the times measured before; return a description of each failure."""
    prepare()
    make_recipes(todo)
    seconds = store.recorded_seconds()
    todo = sorted(todo, key=lambda notebook: -seconds.get(docname(notebook), float("inf")))
    expected = {docname(notebook): seconds.get(docname(notebook)) for notebook in todo}
    print(f"Running {min(JOBS, len(todo))} at a time, {THREADS} thread(s) each", flush=True)
    failures = []
    with (
        ThreadPoolExecutor(JOBS) as pool,
        ProgressLine("notebooks", expected, min(JOBS, len(todo))) as progress,
    ):

        def begun(notebook: Path) -> Run:
            progress.started(docname(notebook))
            return run(notebook, THREADS)

        runs = {pool.submit(begun, notebook): notebook for notebook in todo}
        for done in as_completed(runs):
            notebook = runs[done]
            result = done.result()
            failure = describe(notebook, result.copy, result.log)
            if failure:
                failures.append(failure)
            else:
                store.put(keys[notebook], result.copy, record(result))
            outcome = f"{'FAILED' if failure else 'passed'} {notebook}, {result.memory_mb} MB"
            progress.done(docname(notebook), outcome)
    return failures


def make_recipes(todo: list[Path]) -> None:
    """Make what the notebooks start from and the package does not keep, before any of them is timed.

    Raises:
        Stop: a recipe failed; it has said why.
    """
    parts = {part for notebook in todo for part in closure(notebook)}
    if not any(part.startswith("book/") for part in parts):
        return
    from mmbook.book.recipes import declared

    names = [name for name, recipe in declared().items() if recipe.module in parts and recipe.needed_ahead()]
    if names:
        command = [sys.executable, "-m", "mmbook.book.recipes", "--needed", *names]
        if subprocess.run(command, env=offline(os.environ.copy())).returncode:
            raise Stop("what the notebooks start from could not be made")


def prepare() -> None:
    """An empty folder for the copies, from which benchmarks and lock lie where they do in the repository."""
    shutil.rmtree(RUN, ignore_errors=True)
    RUN.mkdir(parents=True)
    (RUN / "pytest.ini").write_text("[pytest]\n")
    startup = KERNEL / "ipython/profile_default/startup"
    startup.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(__file__).with_name("kernel_startup.py"), startup)
    for folder in (BENCHMARKS, LOCK.parent):
        if folder.is_dir():
            (RUN / folder).symlink_to(folder.resolve())


def run(notebook: Path, threads: int) -> Run:
    """Execute a copy of one notebook under pytest and nbmake, measuring as it goes."""
    copy = RUN / notebook
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(notebook, copy)
    log = copy.with_suffix(".log")
    command = [sys.executable, "-c", PYTEST, "-p", "no:cacheprovider", "-p", "no:xdist"]
    command += ["--nbmake", "--nbmake-kernel=python3", f"--nbmake-timeout={CELL_SECONDS}", "--overwrite"]
    command += ["-q", "--color=no", "-c", str(RUN / "pytest.ini"), str(copy)]
    with (
        log.open("w") as output,
        subprocess.Popen(command, env=environment(threads, copy), stdout=output, stderr=output) as tests,
    ):
        memory = watch_memory(tests)
    return Run(copy, cell_seconds(copy), memory, "" if tests.returncode == 0 else log.read_text())


def watch_memory(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process; the most memory (MB) that it and its children held at once, sampled."""
    most = 0
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            top = psutil.Process(process.pid)
            most = max(most, sum(part.memory_info().rss for part in [top, *top.children(recursive=True)]))
        time.sleep(0.25)
    return most // 2**20


def cell_seconds(copy: Path) -> float:
    """Wall seconds from the start of the first cell to the end of the last, without the kernel's start."""
    cells = nbformat.read(copy, as_version=4).cells
    times = [
        datetime.fromisoformat(time) for cell in cells for time in cell.metadata.get("execution", {}).values()
    ]
    return (max(times) - min(times)).total_seconds() if times else 0.0


def environment(threads: int, copy: Path) -> dict[str, str]:
    """What a notebook runs under: this environment's own kernel, a fixed number of threads, no hub."""
    variables = {
        name: value for name, value in os.environ.items() if name not in ("JUPYTER_PATH", "PYTHONPATH")
    }
    own = KERNEL.resolve()
    variables |= {
        "JUPYTER_DATA_DIR": str(own),
        "JUPYTER_CONFIG_DIR": str(own),
        "IPYTHONDIR": str(own / "ipython"),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "MMBOOK_RUNNING_CELL": str(copy.with_suffix(RUNNING).resolve()),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONHASHSEED": "0",
        "MMBOOK_SCALE": os.environ.get("MMBOOK_SCALE", "laptop"),
        "TQDM_DISABLE": "1",  # progress bars are for a live reader; on a page they are noise
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        variables[name] = str(threads)
    return offline(variables)


def offline(variables: dict[str, str]) -> dict[str, str]:
    """At laptop scale nothing may be asked of a hub; `make setup` has fetched what is needed."""
    if variables.get("MMBOOK_SCALE", "laptop") == "laptop":
        variables["HF_HUB_OFFLINE"] = "1"
    return variables


def record(run: Run) -> store.Record:
    """What a page may say about its run."""
    return {
        "seconds": round(run.seconds, 1),
        "memory_mb": run.memory_mb,
        "date": date.today().isoformat(),
        "cpus": cpus(),
        "threads": THREADS,
        "jobs": JOBS,
    }


def cpus() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    run_main(main)
