"""Where a measured or trained result comes from: day, commit, machine, lock and versions."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from datetime import date
from pathlib import Path

import torch

REPOSITORY = Path(__file__).resolve().parents[2]
LOCK = REPOSITORY / "requirements/lock.txt"


def pedigree(apart_from: str = "") -> dict[str, str | int]:
    """What a number depends on and a reader cannot see.

    Args:
        apart_from: a path in the repository; changes there do not make the commit one "with uncommitted
            changes".

    Returns:
        "date", "commit", "processor", "cpus", "threads", "gpu" (its name, or ""), "torch", "python", and
        "lock", 16 digits of the SHA-256 of the locked versions. What cannot be known, as the commit of an
        installed package, is "".
    """
    return {
        "date": date.today().isoformat(),
        "commit": _commit(apart_from),
        "processor": processor(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "lock": hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16] if LOCK.is_file() else "",
    }


def processor() -> str:
    """The model of the CPU, as far as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _commit(apart_from: str) -> str:
    if not (REPOSITORY / ".git").exists():
        return ""
    try:
        head, changed = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--", ".", f":!{apart_from}")
    except (OSError, subprocess.CalledProcessError):  # no git here, or none that trusts this folder
        return ""
    return head + (" with uncommitted changes" if changed else "")


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(REPOSITORY), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
