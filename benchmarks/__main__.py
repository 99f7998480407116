"""Run every module here that has a ``main()``; print its table and write ``benchmarks/results/<name>.csv``.

``python -m benchmarks`` runs all of them, ``python -m benchmarks encoders`` those that are named.
"""

from __future__ import annotations

import datetime
import hashlib
import importlib
import pkgutil
import platform
import subprocess
import sys
from pathlib import Path

import pandas as pd
import torch

HERE = Path(__file__).parent
LOCK = HERE.parent / "requirements" / "lock.txt"
THREADS = 2  # what the book's running times are stated for


def conditions() -> dict[str, str]:
    """What a number depends on and a reader cannot see: date, commit, hardware, versions."""
    git = ["git", "-C", str(HERE), "describe", "--always", "--dirty", "--exclude=*"]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip(),
        "hardware": f"{processor()}, {torch.get_num_threads()} threads, {gpu}",
        "torch": torch.__version__,
        "lock_sha256": hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16],
    }


def processor() -> str:
    """The model of the CPU, as far as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.partition(":")[2].strip()
            for line in cpuinfo.read_text().splitlines()
            if "model name" in line
        ]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


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
