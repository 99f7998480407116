"""Data at scale: samples streamed from tar shards, the same in every run, nothing lost without a name."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset

from mmbook.data.files import FilesSkipped, Skipped
from mmbook.data.shard_members import ABOUT, LABEL_KINDS, Labels, Processors, RawSample, modality_of, row_of
from mmbook.data.shard_paths import indices_of, located, readers
from mmbook.data.tar_samples import NotAShard, is_shard, samples_of
from mmbook.seeding import stream


class ShardDataset(IterableDataset[dict[str, Any]]):
    """Rows ``{name: Tensor (T, ...), "labels": ..., "id": ...}`` from WebDataset tar shards.

    How members of a sample are called, and what a processor is given, is said in `mmbook.data.shard_members`;
    `mmbook.data.write_shards` writes such shards, and so does WebDataset itself.

    **Who reads what.** The shards are put into another order in each epoch, the same on all ranks; rank r of
    W takes every W-th of them, and of these each of its data loader's workers takes its part. So each sample
    is read exactly once an epoch, by one reader. Readers may get unequal numbers of samples: their numbers of
    shards differ by at most one, so where all shards but a last, shorter one are equally large, two ranks
    differ by less than two shards' samples.

    **Order.** A buffer of undecoded samples is filled; each further one takes the place of a random one, and
    that is delivered. Neighbours in a shard come out about `buffer` samples apart, so samples that are sorted
    (all cats first) must be shuffled before they are written. Everything is a pure function of seed, epoch,
    rank, number of ranks, worker, number of workers, and the files.

    **Faults.** A sample that is damaged, or lacks a member that its json states, is left out and named; so
    is what a damaged or cut-off tar has lost, or a shard that is missing. A loop ends with one warning
    (`FilesSkipped`), and `skipped` has them all. A modality that a sample was never meant to have is just
    absent from its row.

    Memory: the buffer, one sample, and the keys of one shard.

    Args:
        shards: a folder with its ``shards.json``; or a path or pattern, such as
            ``"data/train-{000..009}.tar"`` or ``"data/*.tar"``; or several of them. Where a ``shards.json``
            lies beside the shards, it is read in any case.
        processors: ``{name: function}`` to a tensor ``(T, ...)``, such as those of `mmbook.preprocess`.
            What they refuse with ``ValueError`` or ``OSError`` is a damaged sample. Modalities without a
            processor are not read.
        buffer: samples to mix; 0 keeps the order within a shard.
        seed: of the order.
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
        processors: Processors,
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
        self.paths = located(shards)
        self.processors, self.buffer, self.seed = dict(processors), buffer, seed
        indices = indices_of(self.paths)
        index = next(iter(indices.values()), None)
        self.modalities = index and index.modalities
        self.class_names = index and index.class_names
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
            warnings.warn(
                f"{len(self.skipped)} samples or shards cannot be used, such as {self.skipped[0].path}: "
                f"{self.skipped[0].reason}; .skipped lists them all",
                FilesSkipped,
                stacklevel=2,
            )

    def positions(self, epoch: int, skip: int = 0) -> Iterator[dict[str, Any] | Skipped | None]:
        """What this reader meets in an epoch, in order: a row, or a `Skipped` with its name and reason.

        The first `skip` are None and are not decoded. So a run that was broken off goes on at the very sample
        where it stopped; and batches that are cut from positions stay what they are when a sample is damaged,
        which makes its batch smaller and shifts no other. (What a cut-off tar has lost is one position.)

        Raises:
            ValueError: fewer shards than readers; or, after the last position, not a single shard of the
                whole dataset could be read.
        """
        rank, world, worker, workers = readers()
        if len(self.paths) < world * workers:
            raise ValueError(
                f"{len(self.paths)} shards cannot be shared by {world * workers} readers ({world} ranks with "
                f"{workers} workers each): some would have nothing to do. Write more shards (a smaller "
                f"per_shard), or take fewer workers"
            )
        order = stream("shards", self.seed, epoch).permutation(len(self.paths))
        mine = [self.paths[i] for i in order[rank::world][worker::workers]]
        mixed = _mixed(self._raw(mine), self.buffer, stream("samples", self.seed, epoch, rank, worker))
        return self._decoded(mixed, skip)

    def _decoded(
        self, samples: Iterable[RawSample | Skipped], skip: int
    ) -> Iterator[dict[str, Any] | Skipped | None]:
        for position, sample in enumerate(samples):
            if position < skip:
                yield None
            else:
                yield sample if isinstance(sample, Skipped) else row_of(sample, self.processors, self.labels)

    def _lean(self, sample: RawSample) -> RawSample:
        """The sample without members that nobody will read, which would only fill the buffer."""
        used = {*self.processors, *ABOUT}
        parts = {name: part for name, part in sample.parts.items() if modality_of(name) in used}
        return sample._replace(parts=parts)

    def _raw(self, paths: Sequence[Path]) -> Iterator[RawSample | Skipped]:
        bad = 0
        for path in paths:
            try:
                for sample in samples_of(path, self._counts.get(path), self._stated):
                    yield sample if isinstance(sample, Skipped) else self._lean(sample)
            except NotAShard as error:
                bad += 1
                yield Skipped(path.name, str(error))
        if bad == len(paths) and not any(is_shard(path) for path in self.paths):
            raise ValueError(
                f"not one of the {len(self.paths)} shards can be read, such as {self.paths[0]}; "
                f"check the path"
            )


def _mixed(items: Iterable[Any], size: int, random: np.random.Generator) -> Iterator[Any]:
    held: list[Any] = []
    for item in items:
        if len(held) < size:
            held.append(item)
        elif size == 0:
            yield item
        else:
            place = int(random.integers(size))
            held[place], out = item, held[place]
            yield out
    for place in random.permutation(len(held)):
        yield held[place]
