"""The samples of one tar shard, read front to back, with a name for everything that is not there.

Python's `tarfile`, and the webdataset library with it, takes the first header that it cannot read for the
end of the archive: one bad byte in a header, or a hole of zeros, and the rest of the shard is gone without a
word. (Of 846 damaged shards that lost a sample webdataset 1.0.2 named none, and of 400 cut off 246.) Here
tarfile is made to look for the next header, and what lies between is named.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from mmbook.data.files import Skipped
from mmbook.data.shard_format import RawSample, stated_members, unpacked

BLOCK = 512  # a header has one block, and members are filled up to whole ones
# What WebDataset passes over, too, and what macOS puts beside each file.
_ABOUT_THE_SHARD = re.compile(r"__[^/]*__($|/)|(.*/)?\._")


class NotAShard(ValueError):
    """The file is missing, or not a single member can be read from it."""


class Member(NamedTuple):
    """A regular file in a tar."""

    name: str
    content: bytes


class Gap(NamedTuple):
    """Bytes that are no members, where there could have been some.

    Attributes:
        what: in words.
        last: whether the archive ends with it.
    """

    what: str
    last: bool


def members(path: Path) -> Iterator[Member | Gap]:
    """Every member that can be read, and a `Gap` wherever something is wrong with the tar itself.

    An archive ends with blocks of zeros. Where there is none, it ends with a last `Gap`.
    """
    end = 0  # of what was read so far
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            while found := _next(file, end, size):
                info, start = found[0], end
                if info.offset > start:
                    yield Gap(f"bytes {start} to {info.offset} of the tar are damaged", last=False)
                end = found[1]
                if info.offset_data + info.size > size and end > info.offset_data:
                    yield Gap(f"the tar breaks off at byte {size}, inside {info.name}", last=True)
                    return
                if info.isreg():
                    file.seek(info.offset_data)
                    yield Member(info.name, file.read(info.size))
            file.seek(min(end, size))
            if end >= size or any(map(any, iter(lambda: file.read(2**20), b""))):
                at = size if size - end < BLOCK else end  # less than a header is left, or what is none
                yield Gap(f"the tar breaks off at byte {at}", last=True)
    except OSError as error:
        yield Gap(f"the tar cannot be read beyond byte {end}: {error.strerror or error}", last=True)


def _next(file: IO[bytes], at: int, size: int) -> tuple[tarfile.TarInfo, int] | None:
    """The next header at `at` or behind it, and where its content ends; None if there is no more."""
    while at + BLOCK <= size:
        file.seek(at)
        try:  # tarfile itself goes on to the next header, if it is told that zeros are no end
            tar = tarfile.TarFile(fileobj=file, ignore_zeros=True)
            info = tar.next()
            if info is None:
                return None
            if info.size >= 0 and tar.offset > info.offset:
                return info, tar.offset
            at = info.offset_data
        except (tarfile.TarError, ValueError):  # a long name without its file, or what is no name
            at = max(at + BLOCK, file.tell() // BLOCK * BLOCK)
    return None


def is_shard(path: Path) -> bool:
    """Whether a single member can be read."""
    return any(isinstance(part, Member) for part in members(path))


def samples_of(
    path: Path, expected: int | None = None, stated: bool = False
) -> Iterator[RawSample | Skipped]:
    """The samples of a shard in order; for one that is not whole, its name and what is wrong.

    A sample whose json states its members is whole if it has exactly these. Where the json does not say, a
    sample beside a gap is left out, since it may lack a member. What was lost together with its name, such as
    everything behind the break of a cut-off tar, is one `Skipped` under the name of the shard.

    Memory: one sample, and the keys of the shard.

    Args:
        path: of the tar.
        expected: how many samples it has, where an index knows. Then a gap in which none was lost is not
            reported.
        stated: whether every sample must state its members.

    Raises:
        NotAShard: the file is missing, or no member can be read.
    """
    from webdataset.tariterators import base_plus_ext

    if not path.is_file():
        raise NotAShard("there is no such file")
    shard, seen, gaps = path.name, set[str](), list[str]()
    current: _Coming | None = None
    empty, doubtful, broken = True, False, False
    for part in members(path):
        if isinstance(part, Gap):  # what came in just before may lack a member, and so may what comes next
            gaps.append(part.what)
            doubtful, broken = True, part.last
            if current:
                current.doubtful = True
            continue
        empty = False
        if _ABOUT_THE_SHARD.match(part.name):
            continue
        key, suffix = base_plus_ext(part.name)
        if key is None:
            yield Skipped(f"{shard}/{part.name}", "its name has no key and extension, as 000123.png has")
            continue
        if current is None or key != current.key:
            if current:
                yield current.closed(shard, stated, gaps)
            current, doubtful = _Coming(key, doubtful, key in seen), False
            seen.add(key)
        current.add(suffix.lower(), part.content)
    if empty:
        raise NotAShard(gaps[0] if gaps and not broken else "it is no tar, or nothing is left of it")
    in_a_sample = False
    if current:
        last = current.closed(shard, stated, [] if broken else gaps)
        in_a_sample = broken and isinstance(last, Skipped)
        if in_a_sample:  # one break, one report
            seen.discard(current.key)
            gaps.append(f"the first sample lost is {current.key}")
        else:
            yield last
    lost = expected - len(seen) if expected is not None else None
    if in_a_sample or (gaps if lost is None else lost > 0):
        count = (
            "no index says how many are lost" if lost is None else f"{lost} of {expected} samples are lost"
        )
        yield Skipped(shard, "; ".join([*gaps, count]))


class _Coming:
    """The sample whose members are coming in."""

    def __init__(self, key: str, doubtful: bool, again: bool) -> None:
        self.key, self.doubtful = key, doubtful
        self.parts: dict[str, bytes] = {}
        self.fault = "the key was there before; members of a sample must follow each other" if again else ""

    def add(self, suffix: str, content: bytes) -> None:
        if suffix in self.parts:
            self.fault = self.fault or f"a second member {self.key}.{suffix}; is the key used twice?"
        self.parts[suffix] = content

    def closed(self, shard: str, stated: bool, gaps: list[str]) -> RawSample | Skipped:
        """The sample, or what is wrong with it; that explains the gaps so far, which are taken off."""
        name, about, wrong = self.key, {}, self.fault
        if not wrong and "json" in self.parts:
            try:
                about = unpacked(self.parts["json"])
            except ValueError as error:
                name, wrong = f"{self.key}.json", f"cannot be read: {error}"
        if not wrong:
            suffix, wrong = self._lacks(about, stated)
            name = f"{self.key}.{suffix}" if suffix else name
        if not wrong:
            return RawSample(shard, self.key, about, self.parts)
        reason = "; ".join([wrong, *gaps])
        gaps.clear()
        return Skipped(f"{shard}/{name}", reason)

    def _lacks(self, about: dict, stated: bool) -> tuple[str, str]:
        """The suffix that is too few or too many, and what to say of it."""
        wanted = stated_members(about)
        if wanted is None:
            if stated:
                return "json", "the json that states the sample's members is missing"
            return "", "it may lack a member" if self.doubtful else ""
        for suffix in sorted({*wanted, *self.parts} - {"json"}):
            if suffix not in self.parts:
                return suffix, "the member is missing, though the json states it"
            if suffix not in wanted:
                return suffix, "the member is unexpected: the json does not state it"
        return "", ""
