"""Measure each notebook alone with two threads, as a reader's laptop would run it, and write the table down.

The table carries the commit, the hardware and the lock it was measured with; pages read it, nobody edits it.
"""

from __future__ import annotations

import json

from filelock import FileLock

from mmbook.book.pedigree import pedigree
from tools import Stop, execute, run_main, store
from tools.failure import describe
from tools.keys import BENCHMARKS
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
    path.write_text(json.dumps({**pedigree(), "threads": THREADS, "notebooks": table}, indent=1) + "\n")
    print(f"Written: {path}")


if __name__ == "__main__":
    run_main(main)
