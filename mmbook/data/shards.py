"""Data at scale: samples streamed from tar shards, the same in every run, nothing lost without a name."""

from __future__ import annotations

import os
import random
import re
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from mmbook.data.files import FilesSkipped, Skipped
from mmbook.data.kinds import KIND_OF_EXTENSION, Processor, is_deterministic
from mmbook.data.labels import LABEL_KINDS, Labels
from mmbook.data.shard_format import (
    ABOUT,
    INDEX,
    RawSample,
    Shard,
    ShardIndex,
    label_of,
    modality_of,
    stated_members,
)
from mmbook.data.tar_samples import NotAShard, is_shard, samples_of
from mmbook.seeding import digest, seeded, stream

# In JPEG: a marker that is neither a stuffed byte nor a restart. What lies before it is compressed pixels.


class ShardDataset(IterableDataset[dict[str, Any]]):
    """Rows ``{name: Tensor (T, ...), "labels": ..., "id": ...}`` from WebDataset tar shards.

    How members of a sample are called is said in `mmbook.data.shard_format`; `mmbook.data.write_shards`
    writes such shards, and so does WebDataset itself.

    **Who reads what.** The shards are put into another order in each epoch, the same on all ranks; rank r of
    W takes every W-th of them, and of these each of its data loader's workers takes its part. So each sample
    is read exactly once an epoch, by one reader. Ranks may get unequal numbers of samples, but of equally
    large shards their numbers differ by at most one.

    **Order.** A buffer of undecoded samples is filled; then a random one of them is delivered, and the next
    takes its place. That mixes neighbours only: samples that are sorted (all cats first) must be shuffled
    before they are written. The order is a pure function of seed, epoch, reader and files; what
    processors draw from the random numbers of torch, numpy or `random`, of seed, epoch and sample.

    **Faults.** A sample that is damaged, or lacks a member that its json states, is left out and named; so
    is what a damaged or cut-off tar has lost, or a shard that is missing. A loop ends with one warning
    (`FilesSkipped`), and `skipped` has them all. A modality that a sample was never meant to have is just
    absent from its row.

    Memory: the buffer, one sample, and the keys of one shard.

    Args:
        shards: a folder with its ``shards.json``; or a path or pattern, such as
            ``"data/train-{000..009}.tar"`` or ``"data/*.tar"``; or several of them. Where a ``shards.json``
            lies beside the shards, it is read in any case.
        processors: ``{name: function}`` to a tensor ``(T, ...)``, such as those of `mmbook.preprocess`. They
            get a str for a text, the path of a temporary file for a sound, bytes for anything else. What they
            refuse with ``ValueError`` or ``OSError`` is a damaged sample. Modalities without a processor are
            not read.
        buffer: samples to mix; 0 keeps the order within a shard.
        seed: of the order, and of what processors draw.
        labels: ``"class"``, ``"number"`` or ``"none"``; as the index says, where not given, else classes.
        classes: how many there are; as the index says, where not given. A label outside is a damaged sample.
        samples: how many there are in all shards, for `len`; as the index says, where not given.

    Attributes:
        paths: of the shards.
        modalities: that the index names; None without an index.
        labels: kind and number of classes.
        class_names: of the classes in order, where the index has them.
        skipped: ``(path, reason)`` of each sample left out in the last loop in this process; the path reads
            ``"train-000003.tar/000123.png"``.

    Raises:
        FileNotFoundError: a folder without an index.
        ValueError: no shards, the same twice, an address instead of a path, indices that contradict each
            other, a processor for a modality that the index does not know. While reading: fewer shards than
            readers; all shards missing or damaged beyond reading.

    Source: Aizman, Maltby and Breuel (2019), *High Performance I/O For Large Scale Deep Learning*,
    https://arxiv.org/abs/2001.01858.
    """

    def __init__(
        self,
        shards: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        processors: Mapping[str, Processor],
        *,
        buffer: int = 1000,
        seed: int = 0,
        labels: str | None = None,
        classes: int | None = None,
        samples: int | None = None,
    ) -> None:
        if buffer < 0:
            raise ValueError(f"buffer is {buffer}; give a number of samples, or 0 for no mixing")
        if labels is not None and labels not in LABEL_KINDS:
            raise ValueError(f"labels is {labels!r}; it must be one of {', '.join(LABEL_KINDS)}")
        self.paths = shard_paths(shards)
        self.processors, self.buffer, self.seed = dict(processors), buffer, seed
        indices = _indices(self.paths)
        index = next(iter(indices.values()), None)
        self.modalities = None if index is None else index.modalities
        self.class_names = None if index is None else index.class_names
        self._stated = index is not None and index.stated
        kind = labels or (index.labels if index else "class")
        self.labels = Labels(kind, index.classes if index and classes is None else classes)
        self._counts = {
            folder / shard.file: shard.samples for folder, i in indices.items() for shard in i.shards
        }
        self._samples = samples
        if index and not set(self.processors) <= set(index.modalities):
            extra = ", ".join(sorted(set(self.processors) - set(index.modalities)))
            raise ValueError(
                f"there are processors for {extra}; the shards have {', '.join(index.modalities)}"
            )
        self._draws = not all(map(is_deterministic, self.processors.values()))
        self.skipped: list[Skipped] = []
        # shared, so that a data loader's lasting workers (persistent_workers) hear of the next epoch, too
        self._epoch = torch.zeros((), dtype=torch.long).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0, that the next loop reads."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        """How many samples all ranks have together, damaged ones included.

        Raises:
            TypeError: it is not known.
        """
        if self._samples is not None:
            return self._samples
        if not all(path in self._counts for path in self.paths):
            raise TypeError(
                f"nobody has counted the samples of {self.paths[0].parent}: write an index by "
                f"`mmbook shard --index`, or give samples=..."
            )
        return sum(self._counts[path] for path in self.paths)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.skipped = []
        for item in self.positions(int(self._epoch)):
            if isinstance(item, Skipped):
                self.skipped.append(item)
            elif item is not None:
                yield item
        if self.skipped:
            _warn("cannot be used", self.skipped, "; .skipped lists them all")

    def positions(self, epoch: int, skip: int = 0) -> Iterator[dict[str, Any] | Skipped | None]:
        """What this reader meets in an epoch, in order: a row, or a `Skipped` with its name and reason.

        The first `skip` are None and are not decoded. So a run that was broken off goes on at the very sample
        where it stopped; and batches that are cut from positions stay what they are when a sample is damaged,
        which makes its batch smaller and shifts no other. (What a cut-off tar has lost is one position.)

        Raises:
            ValueError: fewer shards than readers; or, after the last position, not a single shard of the
                whole dataset could be read.
        """
        from webdataset import shuffle

        rank, world, worker, workers = this_reader()
        if len(self.paths) < world * workers:
            raise ValueError(
                f"{len(self.paths)} shards cannot be shared by {world * workers} readers ({world} ranks with "
                f"{workers} workers each): some would have nothing to do. Write more shards (a smaller "
                f"per_shard), or take fewer workers"
            )
        order = stream("shards", self.seed, epoch).permutation(len(self.paths))
        mine = [self.paths[i] for i in order[rank::world][worker::workers]]
        draws = random.Random(digest("samples", self.seed, epoch, rank, worker))
        mixed = shuffle(self.buffer, initial=self.buffer, rng=draws)(self._raw(mine))
        return (None if i < skip else self._decoded(item, epoch) for i, item in enumerate(mixed))

    def _decoded(self, sample: RawSample | Skipped, epoch: int) -> dict[str, Any] | Skipped:
        if isinstance(sample, Skipped):
            return sample
        if not self._draws:
            return row_of(sample, self.processors, self.labels)
        with seeded("draws", self.seed, epoch, sample.shard, sample.key):
            return row_of(sample, self.processors, self.labels)

    def _raw(self, paths: Sequence[Path]) -> Iterator[RawSample | Skipped]:
        """The samples, without members that nobody will read, which would only fill the buffer."""
        used, bad = {*self.processors, *ABOUT}, 0
        for path in paths:
            try:
                for sample in samples_of(path, self._counts.get(path), self._stated):
                    if isinstance(sample, RawSample):
                        parts = {s: part for s, part in sample.parts.items() if modality_of(s) in used}
                        sample = sample._replace(parts=parts)
                    yield sample
            except NotAShard as error:
                bad += 1
                yield Skipped(path.name, str(error))
        if bad == len(paths) and not any(is_shard(path) for path in self.paths):
            raise ValueError(
                f"not one of the {len(self.paths)} shards can be read, such as {self.paths[0]}; "
                f"check the path"
            )


def index_shards(
    folder: str | os.PathLike[str], *, labels: str | None = None, classes: int | None = None
) -> ShardIndex:
    """Write the index of a folder of tar shards that others have written, by reading every one of them once.

    Nothing is decoded. Names of the classes are kept from an index that the folder has already, as long as
    they are enough for the labels. What is lost already, and labels that do not fit, are reported
    (`FilesSkipped`).

    Args:
        folder: with files ``*.tar``.
        labels: ``"class"``, ``"number"`` or ``"none"``; what the first sample has, where not given.
        classes: how many there are; the largest label and one, where not given.

    Raises:
        ValueError: no tar in the folder, or not a sample in any.
    """
    shards, modalities, stated = [], set[str](), True
    rule, largest = None if labels is None else Labels(labels, classes), -1
    bad: list[Skipped] = []
    for path in sorted(Path(folder).glob("*.tar")):
        count = 0
        try:
            for sample in samples_of(path):
                if isinstance(sample, Skipped):
                    bad.append(sample)
                    continue
                count += 1
                modalities |= {modality_of(suffix) for suffix in sample.parts if suffix not in ABOUT}
                stated = stated and stated_members(sample.about) is not None
                try:
                    label = label_of(sample)
                    rule = rule or Labels(Labels.like(label).kind, classes)
                    if rule.kind == "class":
                        largest = max(largest, int(rule.checked(label)))  # type: ignore[arg-type]
                except ValueError as error:
                    bad.append(Skipped(f"{path.name}/{sample.key}", str(error)))
        except NotAShard as error:
            bad.append(Skipped(path.name, str(error)))
        shards.append(Shard(path.name, count, path.stat().st_size))
    if rule is None:
        raise ValueError(f"no sample can be read from the {len(shards)} files *.tar in {os.fspath(folder)}")
    if bad:
        _warn("are damaged", bad)
    names = None
    if rule.kind == "class":
        with suppress(FileNotFoundError, ValueError):  # none, or one that is damaged
            names = ShardIndex.load(folder).class_names
        if names is not None and (largest >= len(names) or classes not in (None, len(names))):
            names = None
        classes = classes or len(names or range(largest + 1))
    index = ShardIndex(tuple(shards), tuple(sorted(modalities)), rule.kind, classes, names, stated)
    index.save(folder)
    return index


def shard_paths(shards: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[Path]:
    """The paths that a folder, a pattern or a list of them stand for; a file need not be there.

    Raises:
        FileNotFoundError: a folder without an index.
        ValueError: none, the same twice, or an address instead of a path.
    """
    from webdataset.shardlists import expand_urls

    if isinstance(shards, str | os.PathLike):
        folder = Path(shards)
        if folder.is_dir():
            return [folder / shard.file for shard in ShardIndex.load(folder).shards]
        shards = [shards]
    paths: list[Path] = []
    for pattern in [os.fspath(shard) for shard in shards]:
        if "://" in pattern or pattern.startswith("pipe:"):
            raise ValueError(f"{pattern} is an address; fetch the shards first and give the path of a folder")
        for name in expand_urls(pattern):
            paths += map(Path, sorted(glob(name)) if has_magic(name) else [name])
    if not paths:
        raise ValueError(f"there are no shards at {', '.join(map(str, shards)) or 'an empty list'}")
    twice = [path for path, count in Counter(paths).items() if count > 1]
    if twice:
        raise ValueError(f"the shard {twice[0]} is named twice; its samples would be read twice an epoch")
    return paths


def this_reader() -> tuple[int, int, int, int]:
    """Which reader of shards this is: rank, number of ranks, worker, number of workers.

    Ranks are those of torch.distributed where it is initialised, else the environment's RANK and WORLD_SIZE,
    which torchrun and accelerate set, else there is one. Workers are those of torch's data loader. (The
    webdataset library lets RANK, and variables named WORKER and NUM_WORKERS, outvote both.)

    Raises:
        ValueError: a rank that is not below the number of ranks.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    else:
        rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if not 0 <= rank < world:
        raise ValueError(f"RANK is {rank} and WORLD_SIZE {world}; set both, the rank from 0 to {world - 1}")
    info = get_worker_info()
    return (rank, world, info.id, info.num_workers) if info else (rank, world, 0, 1)


def _indices(paths: Sequence[Path]) -> dict[Path, ShardIndex]:
    """The index of each folder that has one."""
    folders = dict.fromkeys(path.parent for path in paths)
    found = {folder: ShardIndex.load(folder) for folder in folders if (folder / INDEX).is_file()}
    if len({(i.labels, i.classes, i.class_names, i.modalities) for i in found.values()}) > 1:
        raise ValueError(
            f"the indices in {', '.join(map(str, found))} state different labels or modalities; read them as "
            f"separate datasets"
        )
    return found


def _warn(what: str, bad: Sequence[Skipped], more: str = "") -> None:
    warnings.warn(
        f"{len(bad)} samples or shards {what}, such as {bad[0].path}: {bad[0].reason}{more}",
        FilesSkipped,
        stacklevel=3,
    )


def row_of(raw: RawSample, processors: Mapping[str, Processor], labels: Labels) -> dict[str, Any] | Skipped:
    """The sample decoded, as `mmbook.collate` takes it, or what is wrong with it."""
    row: dict[str, Any] = {}
    stated = stated_members(raw.about) or {}
    for suffix, content in raw.parts.items():
        name = modality_of(suffix)
        if name not in processors or suffix in ABOUT:
            continue
        try:
            if stated.get(suffix, zlib.crc32(content)) != zlib.crc32(content):
                raise ValueError("the bytes are not those written: their checksum differs")
            if name in row:
                raise ValueError(f"a second member for {name!r}; name it {raw.key}.NAME.{suffix}")
            kind = KIND_OF_EXTENSION.get(suffix.rpartition(".")[2])
            row[name] = processors[name](content.decode("utf-8") if kind == "text" else content)
        except (ValueError, OSError) as error:
            return Skipped(f"{raw.shard}/{raw.key}.{suffix}", str(error))
    if labels.kind != "none":
        try:
            if (label := label_of(raw)) is None:
                raise ValueError(
                    "there is no 'labels' in the json, and no cls; add one, or read with labels='none'"
                )
            row["labels"] = labels.checked(label)
        except ValueError as error:
            return Skipped(f"{raw.shard}/{raw.key}.{'json' if raw.about else 'cls'}", str(error))
    return row | {"id": _number(raw)}


def _number(raw: RawSample) -> int:
    """An id that fits a tensor: the json's, else the key's number, else a hash of shard and key."""
    number = raw.about.get("id")
    if type(number) is int and abs(number) < 2**63:
        return number
    return int(raw.key) if re.fullmatch(r"[0-9]{1,18}", raw.key) else digest(raw.shard, raw.key) >> 1
