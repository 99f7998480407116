"""What this machine has, and what of the book it can run: the facts behind `mmbook doctor`."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mmbook import assets

PACKAGES = ("mmbook", "torch", "torchvision", "torchaudio", "transformers", "accelerate", "jupyter-book")
SETTINGS = ("MMBOOK_SCALE", "MMBOOK_CACHE", "MMBOOK_MIRROR", "MMBOOK_OFFLINE", "HF_HUB_OFFLINE")

GIB = 2**30
LAPTOP_MEMORY = 4 * GIB  # what a chapter may use at laptop scale
GPU_MEMORY = 16 * GIB  # an estimate: BERT-base, ResNet-50 and wav2vec 2.0 with optimizer and activations


def examine() -> dict[str, Any]:
    """Everything that `mmbook doctor` prints, as plain values that JSON can hold; sizes in bytes.

    Returns:
        ``python``, ``platform``, ``packages`` (name to version or None), ``gpus`` (name and memory each),
        ``cpus``, ``threads`` (of torch), ``processor`` (see there), ``memory`` (total and available, None
        where unknown), ``cache`` (folder and free disk), ``settings`` (variable to value or None), ``assets``
        (status, size, rights and licence each) and ``runs`` (what this machine can run, each with ``able``
        and ``why``).
    """
    import torch

    found: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "gpus": [
            {
                "name": torch.cuda.get_device_name(i),
                "memory": torch.cuda.get_device_properties(i).total_memory,
            }
            for i in range(torch.cuda.device_count())
        ],
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processor": processor(),
        "memory": _memory(),
        "cache": {
            "folder": str(assets.cache_dir()),
            "free": shutil.disk_usage(_existing(assets.cache_dir())).free,
        },
        "settings": {name: os.environ.get(name) for name in SETTINGS},
        "assets": {
            name: {
                "status": assets.status(name),
                "size": asset.size,
                "licence": asset.licence,
                "rights": asset.rights,
            }
            for name, asset in assets.registry().items()
        },
    }
    return found | {"runs": _runs(found)}


def processor() -> dict[str, Any]:
    """What the CPU does well.

    Returns:
        ``name``; ``instructions``, the vector instructions that torch's own functions use (``AVX2``, ...);
        ``half_precision``, the types in which recurrent layers can run; and ``advice``, a sentence on
        training with ``precision="bf16"``.
    """
    import torch

    from mmbook.encoders.recurrent import HALF_PRECISIONS

    # older torch does not tell; its name for the same instructions differs between x86 and ARM
    able = dict(getattr(torch.cpu, "get_capabilities", dict)())
    native = any(able.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16"))
    if native:
        advice = "bfloat16 in hardware: precision='bf16' may be faster than float32"
    elif able:
        advice = "bfloat16 only emulated: precision='bf16' is slower than float32"
    else:
        advice = "bfloat16 perhaps emulated: compare the time of precision='bf16' with that of float32"
    if torch.bfloat16 not in HALF_PRECISIONS:
        advice += "; recurrent layers stay in float32"
    return {
        "name": able.get("cpu_name") or platform.processor() or platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "half_precision": sorted(str(dtype).removeprefix("torch.") for dtype in HALF_PRECISIONS),
        "advice": advice,
    }


def _runs(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Each way to run the book: whether this machine is up to it, and what is in the way if it is not."""
    missing = [name for name, asset in found["assets"].items() if asset["status"] != "here"]
    absent = [
        name for name in ("torch", "torchvision", "torchaudio", "transformers") if not found["packages"][name]
    ]
    laptop = [f"{name} is not installed" for name in absent]
    total = found["memory"]["total"]
    if total is not None and total < LAPTOP_MEMORY:
        laptop.append(f"{total / GIB:.1f} GiB of memory; {LAPTOP_MEMORY / GIB:.0f} are needed")
    needed = sum(found["assets"][name]["size"] for name in missing)
    if needed > found["cache"]["free"]:
        laptop.append(
            f"{needed / 1e6:.0f} MB to fetch, {found['cache']['free'] / 1e6:.0f} MB free in the cache"
        )
    offline = laptop + ([f"run `mmbook fetch`: {', '.join(missing)} not here"] if missing else [])
    book = offline + ([] if found["packages"]["jupyter-book"] else ["the extra `book` is not installed"])
    memory = max((gpu["memory"] for gpu in found["gpus"]), default=0)
    gpu = list(laptop)
    if not found["gpus"]:
        gpu.append("torch sees no GPU")
    elif memory < GPU_MEMORY:
        gpu.append(f"{memory / GIB:.1f} GiB of GPU memory; {GPU_MEMORY / GIB:.0f} are needed")
    rows = {
        "chapters at laptop scale": laptop,
        "chapters without a network": offline,
        "building the book": book,
        "chapters at GPU scale (MMBOOK_SCALE=gpu)": gpu,
    }
    return [{"what": what, "able": not why, "why": "; ".join(why)} for what, why in rows.items()]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _memory() -> dict[str, int | None]:
    """Bytes of memory, total and available; Linux tells both, other systems at most the total."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        return {
            "total": int(lines["MemTotal"].split()[0]) * 1024,
            "available": int(lines["MemAvailable"].split()[0]) * 1024,
        }
    names: dict[str, int] = getattr(os, "sysconf_names", {})
    if "SC_PHYS_PAGES" in names:
        return {"total": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), "available": None}
    return {"total": None, "available": None}


def _existing(folder: Path) -> Path:
    """`folder`, or the nearest folder above it that exists already."""
    return next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
