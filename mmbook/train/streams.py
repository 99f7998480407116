"""A dataset that is read from one end to the other, as steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from mmbook.train.accelerator import sums
from mmbook.train.batches import Loader, Read, Step, size_of


class StreamLoader(Loader):
    """An IterableDataset with a length, of which each process reads its own part; arguments as of `Loader`.

    The stream sees to its order itself.

    Raises:
        ValueError: a batch size that the processes cannot share equally; while reading, a process that could
            read nothing at all.
    """

    def prepare(self, workers: int, seed: int, shuffle: bool) -> None:
        world = self.accelerator.num_processes
        if self.batch_size % world:
            raise ValueError(
                f"batch_size is {self.batch_size}, which {world} processes cannot share equally; over a "
                f"stream it must be a multiple of their number"
            )
        self.local = self.batch_size // world

    def read(self, epoch: int, start: int) -> Iterator[Step]:
        stream = Stream(self.dataset, epoch, start, self.local)  # type: ignore[arg-type]
        return self._agreed(iter(DataLoader(stream, self.local, **self.options)), start)

    def _agreed(self, reads: Iterator[Read], start: int) -> Iterator[Step]:
        """Streams end at different times: the processes say in each step how much they have."""
        spare: Mapping[str, Any] | None = None
        step = 0
        while True:
            read = next(reads, None)
            if step < start:
                step += 1
                continue
            batch = None if read is None else read.batch
            real = 0 if batch is None else size_of(batch)
            total, going = sums(self.accelerator, real, int(read is not None))
            if not going:
                return
            step += 1
            batch = spare if batch is None else batch
            if total and batch is None:
                raise ValueError(
                    "this process could read nothing at all of its part of the data; give it more shards, or "
                    "mend those that it has"
                )
            spare = batch
            ready = self.placed(batch) if total and batch is not None else {}
            yield Step(ready, real, total, read.skipped if read is not None else [])


class Stream(IterableDataset):
    """One epoch of a stream, beginning at a step.

    A dataset with a method `positions` (as `mmbook.data.ShardDataset`) is told how many samples to pass over
    without reading them; of any other the trainer throws away what came before.
    """

    def __init__(self, dataset: IterableDataset, epoch: int, start: int, batch_size: int) -> None:
        self.dataset, self.epoch, self.start, self.batch_size = dataset, epoch, start, batch_size

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        first, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        passed = len(range(first, self.start, workers))  # batches that this worker has delivered, at least
        positions = getattr(self.dataset, "positions", None)
        if positions is not None:
            yield from positions(self.epoch, skip=passed * self.batch_size)
            return
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(self.epoch)
        yield from self.dataset
