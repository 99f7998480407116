"""Results that take long are made once, and kept under a hash of the sources that they depend on.

So a stale result is never read: a change in one of the sources, in torch or in the scale makes it anew.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file
from torch import Tensor

import mmbook
from mmbook.assets import cache_dir, registry
from mmbook.models import MultimodalModel
from mmbook.scale import scale

log = logging.getLogger(__name__)

# What decides the result of a training, beside its model and data: for the sources of recipes that train.
TRAINING = (
    "train/average.py",
    "train/batches.py",
    "train/best.py",
    "train/engine.py",
    "train/feed.py",
    "train/gradient.py",
    "train/loading.py",
    "train/optimizer.py",
    "train/predict.py",
    "train/settings.py",
    "train/sharded.py",
    "train/trainer.py",
)


def key(sources: Iterable[str], depends: Iterable[str] = ()) -> str:
    """A hash that changes with any of the sources, with torch, the scale, and whatever else is named.

    Args:
        sources: files of the package, relative to it.
        depends: other things that the result depends on: names of assets, which stand for their content, or
            any text (a version, say).

    Raises:
        FileNotFoundError: a source that the package does not have.
    """
    root, assets = Path(mmbook.__file__).parent, registry()
    digest = hashlib.sha256(f"{torch.__version__} {scale()}".encode())
    for source in sorted(sources):
        digest.update(source.encode() + (root / source).read_bytes())
    for thing in depends:
        digest.update((assets[thing].sha256 if thing in assets else thing).encode())
    return digest.hexdigest()[:16]


def place(
    name: str, sources: Iterable[str], write: Callable[[Path], object], depends: Iterable[str] = ()
) -> Path:
    """Where the result called `name` lies: the file or folder that `write` makes at the path it is given.

    What is drawn at random while it is made leaves the reader's own random numbers as they were: they must
    not depend on a cache. Nor does it matter whether the reader has gradients switched off just then. A kill
    while it is made leaves nothing behind that would be taken for the result.
    """
    target = cache_dir() / f"{name}-{key(sources, depends)}"
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if not target.exists():
            log.info("making %s, once", name)
            part = target.with_name(f"{target.name}.part")
            shutil.rmtree(part, ignore_errors=True)  # a folder; a file is overwritten
            devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
            with torch.random.fork_rng(devices), torch.enable_grad():
                write(part)
            part.rename(target)
    return target


def tensors(
    name: str, sources: Iterable[str], make: Callable[[], dict[str, Tensor]], depends: Iterable[str] = ()
) -> dict[str, Tensor]:
    """What `make` returns, or what it returned when it was called before."""

    def write(path: Path) -> None:
        # copies: the format refuses two names for the same memory, which a recipe may well return
        save_file({k: v.clone(memory_format=torch.contiguous_format) for k, v in make().items()}, path)

    return load_file(place(name, sources, write, depends))


def model(
    name: str, sources: Iterable[str], make: Callable[[], MultimodalModel], depends: Iterable[str] = ()
) -> MultimodalModel:
    """The model that `make` returns, in eval mode, or the one that it returned before."""
    return MultimodalModel.from_pretrained(
        place(name, sources, lambda path: make().save_pretrained(path), depends)
    )
