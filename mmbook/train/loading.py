"""Which samples a process reads in which step, and how reading them repeats exactly.

Everything here is a pure function of seed, epoch, step and process: a run that goes on in mid-epoch starts at
the step it wants, and eight processes together take the very batches that one alone would.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, Sampler, get_worker_info

from mmbook.data.files import Skipped


def share(total: int, rank: int, world: int) -> int:
    """How many of `total` samples fall to one of `world` processes: as equal as can be."""
    return total // world + (rank < total % world)


class Batches(Sampler[list[tuple[int, int]]]):
    """The samples of one process in each step, as pairs (epoch, index).

    Where a last batch has fewer samples than there are processes, some have none of their own: they are
    given the first, to keep the others company, and `real` says that it does not count.

    Args:
        count: samples in the dataset.
        batch_size: samples in a step, of all processes.
        rank, world: which process of how many.
        seed: of the order, which is another in each epoch; None for the dataset's own order.

    Attributes:
        epoch, start: where to begin; set before iterating.
    """

    def __init__(self, count: int, batch_size: int, rank: int, world: int, seed: int | None) -> None:
        self.count, self.batch_size, self.rank, self.world, self.seed = count, batch_size, rank, world, seed
        self.epoch = self.start = 0

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def total(self, step: int) -> int:
        """Samples of all processes in a step."""
        return min(self.batch_size, self.count - step * self.batch_size)

    def real(self, step: int) -> int:
        """Samples of this process in a step."""
        return share(self.total(step), self.rank, self.world)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = torch.arange(self.count)
        if self.seed is not None:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            order = torch.randperm(self.count, generator=generator)
        for step in range(self.start, len(self)):
            batch = order[step * self.batch_size : (step + 1) * self.batch_size]
            first = sum(share(len(batch), r, self.world) for r in range(self.rank))
            mine = batch[first : first + self.real(step)] if self.real(step) else batch[:1]
            yield [(self.epoch, i) for i in mine.tolist()]


class Repeatable(Dataset):
    """A dataset whose random draws depend on seed, epoch and index, and on nothing that went before.

    Augmentation that calls `torch.rand`, `numpy.random` or `random` draws the same numbers for the same
    sample in the same epoch, with any number of workers and processes, and after a run was broken off. What
    the model draws is left alone. (A dataset that gives many rows at once draws by the first of them; one
    whose attribute `deterministic` is true draws nothing, and is spared the time that this takes a batch.)
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> Any:
        many = getattr(self.dataset, "__getitems__", None)
        if many is not None and getattr(self.dataset, "deterministic", False):
            return many([index for _, index in keys])
        # a worker's random numbers are nobody else's; there `collate` may go on drawing from them
        with nullcontext() if get_worker_info() else _states_kept():
            if many is not None:
                _reseed(self.seed, *keys[0])
                return many([index for _, index in keys])
            rows = []
            for epoch, index in keys:
                _reseed(self.seed, epoch, index)
                rows.append(self.dataset[index])
            return rows


@contextmanager
def _states_kept() -> Iterator[None]:
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])


def _reseed(seed: int, epoch: int, index: int) -> None:
    mixed = (seed * 0x9E3779B97F4A7C15 + epoch * 0xBF58476D1CE4E5B9 + index * 0x94D049BB133111EB) % 2**64
    mixed ^= mixed >> 31
    torch.default_generator.manual_seed(mixed)  # the CPU's alone: a dataset has no business on a GPU
    np.random.seed(mixed % 2**32)  # noqa: NPY002
    random.seed(mixed)


class Stream(IterableDataset):
    """One epoch of a dataset that is read from one end to the other, beginning at a step.

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


class Read(NamedTuple):
    """What a worker hands over: a collated batch, or None where nothing was readable; and what was not."""

    batch: Mapping[str, Any] | None
    skipped: list[Skipped]


class Collated:
    """`collate` over the rows that could be read; the others are named."""

    def __init__(self, collate: Callable[[Sequence[Any]], Mapping[str, Any]]) -> None:
        self.collate = collate

    def __call__(self, rows: Sequence[Any]) -> Read:
        if not isinstance(rows, list) or not any(row is None or isinstance(row, Skipped) for row in rows):
            return Read(self.collate(rows), [])
        good = [row for row in rows if row is not None and not isinstance(row, Skipped)]
        return Read(self.collate(good) if good else None, [row for row in rows if isinstance(row, Skipped)])
