"""Rows of files into tar shards: bytes copied as they are, all or nothing."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from mmbook.data.files import RESERVED, FileDataset, FilesSkipped, Skipped
from mmbook.data.labels import Labels
from mmbook.data.shard_format import INDEX, Shard, ShardIndex, packed, suffix_of

LONGEST_KEY = 60  # bytes; a tar's header has room for 100, and the suffix needs some


class WrittenShards(NamedTuple):
    """What `write_shards` has done: the index of the folder, and the files that made a row be left out."""

    contents: ShardIndex
    skipped: list[Skipped]


def write_shards(
    rows: FileDataset | Iterable[Mapping[str, Any]],
    folder: str | os.PathLike[str],
    *,
    per_shard: int = 1000,
    max_bytes: int = 2**30,
    prefix: str = "train",
    classes: int | None = None,
    class_names: Sequence[str] | None = None,
    text: Sequence[str] = ("text",),
) -> WrittenShards:
    """Write ``folder/train-000000.tar`` and so on, and their index ``shards.json``, for `ShardDataset`.

    Rows are written in their order, and a reader's buffer can only mix neighbours: shuffle them first, where
    they are sorted. At least as many shards are needed as there will be readers (ranks × workers).

    Everything is written under a temporary name, ``.<folder>.part``, which becomes `folder` in one step when
    all is done. So a folder is whole or not there; after a break, run the same again: it starts over, and
    clears away what the broken run has left. One folder holds one split.

    Args:
        rows: each ``{"image": path, "audio": path, "text": "the text itself", "labels": 3, "id": 7}``, with
            any names of modalities. One that is absent or None is missing, which is no fault. Files of any
            kind are copied and not decoded; a file that is missing or empty is reported and its row left out.
            An id that is a string becomes the key, one that is an integer is kept as a number too; rows
            without one are numbered. Labels are integers from 0 for classes, or a float or a list of them.
        folder: where to; must not exist yet, or be empty.
        per_shard, max_bytes: most samples and bytes in a shard; a larger sample has a shard of its own.
        prefix: what file names start with.
        classes: how many there are; the largest label and one, where not given.
        class_names: in order, in place of `classes`.
        text: names under which a str is the text itself. Elsewhere a str is a path; a `pathlib.Path` always
            is.

    Raises:
        FileExistsError: the folder has something in it.
        ValueError: no rows, or none that can be read; a key with a dot, a slash or of more than 60 bytes; a
            key twice; a name that is no lower-case word; labels of several kinds, or none in some rows only.
    """
    if per_shard < 1 or max_bytes < 1:
        raise ValueError(f"per_shard is {per_shard} and max_bytes {max_bytes}; both must be at least 1")
    if not re.fullmatch(r"[\w-]+", prefix):
        raise ValueError(f"prefix is {prefix!r}; take letters, digits, _ and -")
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} exists and is not empty; remove it, or write to another folder")
    samples = _Samples(tuple(text), len(class_names) if class_names is not None else classes)
    part = folder.absolute().with_name(f".{folder.absolute().name}.part")
    _clear(part)
    part.mkdir(parents=True)
    with _Tars(part / prefix, per_shard, max_bytes) as tars:
        for number, row in enumerate(rows.rows if isinstance(rows, FileDataset) else rows):
            sample = samples.of(row, number)
            if sample is not None:
                tars.write(*sample)
    if not tars.counts:
        seen = f"; {samples.skipped[0].path}: {samples.skipped[0].reason}" if samples.skipped else ""
        raise ValueError(f"there are no rows to write, {len(samples.skipped)} were left out{seen}")
    shards = [Shard(path.name, count, path.stat().st_size) for path, count in tars.counts.items()]
    index = samples.index(shards, class_names)
    index.save(part)
    if folder.exists():
        folder.rmdir()
    part.rename(folder)
    if samples.skipped:
        warnings.warn(
            f"{len(samples.skipped)} rows were left out, such as that of {samples.skipped[0].path}: "
            f"{samples.skipped[0].reason}",
            FilesSkipped,
            stacklevel=2,
        )
    return WrittenShards(index, samples.skipped)


class _Tars(ExitStack):
    """Tars of a limited size, one after the other; `counts` says how many samples each has."""

    def __init__(self, prefix: Path, per_shard: int, max_bytes: int) -> None:
        super().__init__()
        self.prefix, self.per_shard, self.max_bytes = prefix, per_shard, max_bytes
        self.counts: dict[Path, int] = {}
        self.size = 0
        self.tar: Any = None

    def write(self, key: str, about: bytes, parts: Mapping[str, bytes]) -> None:
        from webdataset import TarWriter

        size, path = sum(map(len, parts.values())), next(reversed(self.counts), None)
        if path is None or self.counts[path] == self.per_shard or self.size + size > self.max_bytes:
            self.close()
            path = self.prefix.with_name(f"{self.prefix.name}-{len(self.counts):06d}.tar")
            file = self.enter_context(path.open("wb"))
            # without a time of writing, so that equal rows give equal bytes
            self.tar = self.enter_context(TarWriter(file, encoder=False, mtime=0))
            self.counts[path], self.size = 0, 0
        self.tar.write({"__key__": key, "json": about, **parts})
        self.counts[path], self.size = self.counts[path] + 1, self.size + size


class _Samples:
    """Rows to key, json and members, checking what they must have in common."""

    def __init__(self, text: tuple[str, ...], classes: int | None) -> None:
        self.text, self.classes = text, classes
        self.skipped: list[Skipped] = []
        self.largest = -1
        self.rule: Labels | None = None
        self.keys: set[str] = set()
        self.names: set[str] = set()

    def of(self, row: Mapping[str, Any], number: int) -> tuple[str, bytes, dict[str, bytes]] | None:
        """The sample; None for a row that is left out, its file in `skipped`."""
        key, label = self._key(row.get("id"), number), self._label(row.get("labels"), number)
        items = {k: value for k, value in row.items() if k not in RESERVED and value is not None}
        try:
            parts = dict(self._member(name, value, number) for name, value in items.items())
        except OSError as error:
            self.skipped.append(Skipped(os.fspath(error.filename), error.strerror or "cannot be read"))
            return None
        return key, packed(row["id"] if type(row.get("id")) is int else number, label, parts), parts

    def index(self, shards: Sequence[Shard], class_names: Sequence[str] | None) -> ShardIndex:
        kind = self.rule.kind if self.rule else "none"
        classes = (self.largest + 1 if self.classes is None else self.classes) if kind == "class" else None
        names = None if class_names is None else tuple(class_names)
        return ShardIndex(tuple(shards), tuple(sorted(self.names)), kind, classes, names, stated=True)

    def _key(self, given: Any, number: int) -> str:
        given = number if given is None else given
        key = f"{given:09d}" if type(given) is int else str(given)
        if not re.fullmatch(r"[\w-]+", key) or key.startswith("__") or len(key.encode()) > LONGEST_KEY:
            raise ValueError(
                f"row {number} has the id {given!r}, which cannot be a key: take letters, digits, _ and -, "
                f"at most {LONGEST_KEY} bytes, no dot, no slash, no __ in front"
            )
        if key in self.keys:
            raise ValueError(f"row {number} has the id {given!r}, as a row before it; give each its own")
        self.keys.add(key)
        return key

    def _label(self, value: Any, number: int) -> Any:
        """`value` as plain numbers, if it is of the kind of those before."""
        value = value.tolist() if hasattr(value, "tolist") else value  # numpy's and torch's
        self.rule = self.rule or Labels.like(value)._replace(classes=self.classes)
        if (value is None) != (self.rule.kind == "none"):
            raise ValueError(
                f"row {number} has labels {value!r}, unlike those before; give it in all or none"
            )
        if value is None:
            return None
        try:
            label = self.rule.checked(value)
        except ValueError as error:
            raise ValueError(f"row {number}: {error}, as in the first row") from error
        if isinstance(label, int):
            self.largest = max(self.largest, label)
        return label

    def _member(self, name: str, value: Any, number: int) -> tuple[str, bytes]:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            raise ValueError(f"row {number} has the modality {name!r}; take lower-case letters, digits and _")
        if isinstance(value, str) and name in self.text:
            suffix, content = suffix_of(name, "txt"), value.encode()
        else:
            path = Path(value)
            extension = path.suffix[1:].lower()
            if not re.fullmatch(r"[a-z0-9]+", extension):
                raise ValueError(
                    f"row {number}: {path} has no extension to tell its kind, such as .png; rename it"
                )
            suffix, content = suffix_of(name, extension), path.read_bytes()
            if not content:
                raise OSError(0, "the file is empty", str(path))
        self.names.add(name)
        return suffix, content


def _clear(part: Path) -> None:
    """Remove what a broken run has left; anything else in there is not ours, and stays."""
    if not part.exists():
        return
    for path in part.iterdir():
        if re.fullmatch(r"[\w-]+-\d{6}\.tar", path.name) or path.name in (INDEX, f"{INDEX}.part"):
            path.unlink()
    part.rmdir()
