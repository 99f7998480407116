"""Run every module here that has a ``main()``; print its table and write ``benchmarks/results/<name>.csv``.

``python -m benchmarks`` runs all of them, ``python -m benchmarks encoders`` those that are named.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

import pandas as pd
import torch

from mmbook.book.pedigree import pedigree

HERE = Path(__file__).parent
THREADS = 2  # what the book's running times are stated for


def conditions() -> dict[str, str]:
    """What a number depends on and a reader cannot see: date, commit, hardware, versions."""
    where = pedigree(apart_from="benchmarks/results")
    hardware = f"{where['processor']}, {where['threads']} threads, {where['gpu'] or 'no GPU'}"
    kept = {key: str(where[key]) for key in ("date", "commit", "torch")}
    return kept | {"hardware": hardware, "lock_sha256": str(where["lock"])}


def main(chosen: list[str]) -> None:
    names = [module.name for module in pkgutil.iter_modules([str(HERE)])]
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in names if name != "__main__"}
    runnable = {name: module for name, module in modules.items() if hasattr(module, "main")}
    for name in chosen:
        if name not in runnable:
            raise SystemExit(f"no benchmark is called {name!r}; there are {', '.join(runnable)}")
    torch.set_num_threads(THREADS)
    for name in chosen or runnable:
        about = conditions()
        print(f"\n{name}:", "; ".join(f"{key} {value}" for key, value in about.items()))
        table = pd.DataFrame(runnable[name].main())
        print(table.to_string(index=False, float_format="{:.3g}".format, na_rep=""))
        folder = HERE / "results"
        folder.mkdir(exist_ok=True)
        table.assign(**about).to_csv(folder / f"{name}.csv", index=False, float_format="%.4g")


if __name__ == "__main__":
    main(sys.argv[1:])
