"""Measure each notebook alone with two threads, as a reader's laptop would run it, and write the table down.

The table carries the commit, the hardware and the lock it was measured with; pages read it, nobody edits it.
"""

from __future__ import annotations

import json
import platform
import subprocess
from datetime import date
from pathlib import Path

from filelock import FileLock

from tools import Stop, execute, run_main, store
from tools.failure import describe
from tools.keys import BENCHMARKS, LOCK, digest
from tools.pages import docname, notebooks

THREADS = 2


def main() -> None:
    """Run every notebook once, alone, and write ``benchmarks/notebooks.json``."""
    store.ROOT.mkdir(exist_ok=True)
    table = {}
    with FileLock(store.ROOT / "execute.lock"):
        execute.prepare()
        for notebook in notebooks():
            run = execute.run(notebook, THREADS)
            if run.log:
                raise Stop(describe(notebook, run.copy, run.log))
            table[docname(notebook)] = {"seconds": round(run.seconds, 1), "memory_mb": run.memory_mb}
            print(f"  {notebook} {run.seconds:.0f} s, {run.memory_mb} MB", flush=True)
    BENCHMARKS.mkdir(exist_ok=True)
    path = BENCHMARKS / "notebooks.json"
    path.write_text(json.dumps({**circumstances(), "notebooks": table}, indent=1) + "\n")
    print(f"Written: {path}")


def circumstances() -> dict[str, str | int]:
    """The day, the commit, the hardware and the lock that a measurement belongs to."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    changed = subprocess.run(
        ["git", "status", "--porcelain"], capture_output=True, text=True, check=True
    ).stdout
    return {
        "date": date.today().isoformat(),
        "commit": commit + (" with uncommitted changes" if changed else ""),
        "lock": digest([LOCK])[:16],
        "processor": processor(),
        "cpus": execute.cpus(),
        "threads": THREADS,
    }


def processor() -> str:
    """The processor's name, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )


if __name__ == "__main__":
    run_main(main)
