"""A dataset as steps: which samples each process reads when, read repeatably, collated, on the device.

Everything here is a pure function of seed, epoch, step and process: a run that goes on in mid-epoch starts at
the step it wants, and eight processes together take the very batches that one alone would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from mmbook.data.files import Skipped
from mmbook.seeding import reseed, states_kept
from mmbook.train.accelerator import alike

Collate = Callable[[Sequence[Any]], Mapping[str, Any]]


class Step(NamedTuple):
    """What one process works on in one step.

    Attributes:
        batch: flat dict of tensors, on the device.
        real: samples of it that count; 0 where it only keeps the other processes company.
        total: samples of all processes; 0 where nobody could read any.
        skipped: what could not be read.
    """

    batch: Mapping[str, Any]
    real: int
    total: int
    skipped: list[Skipped]


class Loader:
    """A dataset with length and index, as steps; `mmbook.train.streams` has that of a stream.

    Args:
        dataset: rows for `collate`.
        collate: list of rows -> flat dict of tensors.
        batch_size: samples in a step, of all processes.
        workers: processes that load data.
        accelerator: knows the device and the other processes.
        seed: of all random draws.
        shuffle: whether the order of the samples is another in each epoch.
    """

    def __init__(
        self,
        dataset: Dataset,
        collate: Collate,
        batch_size: int,
        workers: int,
        accelerator: Accelerator,
        seed: int,
        shuffle: bool,
    ) -> None:
        self.dataset, self.accelerator, self.batch_size = dataset, accelerator, batch_size
        self.options: dict[str, Any] = {
            "collate_fn": Collated(collate),
            "num_workers": workers,
            "pin_memory": accelerator.device.type == "cuda",
        }
        self.prepare(workers, seed, shuffle)

    def prepare(self, workers: int, seed: int, shuffle: bool) -> None:
        """Make what lasts over the epochs."""
        count = len(self.dataset)  # type: ignore[arg-type]
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        self.batches = Batches(count, self.batch_size, rank, world, seed if shuffle else None)
        self.loader = DataLoader(
            Repeatable(self.dataset, seed),
            batch_sampler=self.batches,
            persistent_workers=workers > 0,
            **self.options,
        )

    def __len__(self) -> int:
        """Steps of an epoch; of a stream, if nothing is missing."""
        return -(-len(self.dataset) // self.batch_size)  # type: ignore[arg-type]

    def steps(self, epoch: int = 0, start: int = 0) -> Iterator[Step]:
        """The steps of an epoch, from `start` on.

        A data loader draws random numbers when it begins, more of them with workers than without. Whatever it
        drew, an epoch begins with one draw, and one that is gone on with, with none: so neither workers nor
        an interruption change what the model draws after it.
        """
        state = torch.get_rng_state()
        steps = self.read(epoch, start)
        torch.set_rng_state(state)
        if start == 0:
            torch.empty((), dtype=torch.int64).random_()
        return steps

    def read(self, epoch: int, start: int) -> Iterator[Step]:
        """The steps; the data loader has begun when this returns."""
        self.batches.epoch, self.batches.start = epoch, start
        return self._known(iter(self.loader), start)

    def _known(self, reads: Iterator[Read], start: int) -> Iterator[Step]:
        for step, read in enumerate(reads, start):
            assert read.batch is not None
            placed = self.placed(read.batch)
            yield Step(placed, self.batches.real(step), self.batches.total(step), read.skipped)

    def placed(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        """The batch on the device, with the same modalities on all processes."""
        if self.accelerator.num_processes > 1:
            batch = alike(self.accelerator, batch, size_of(batch))
        if self.accelerator.device.type == "cpu":  # it is there already
            return batch
        return send_to_device(batch, self.accelerator.device, non_blocking=True)


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


def share(total: int, rank: int, world: int) -> int:
    """How many of `total` samples fall to one of `world` processes: as equal as can be."""
    return total // world + (rank < total % world)


class Repeatable(Dataset):
    """A dataset whose random draws depend on seed, epoch and index, and on nothing that went before.

    Augmentation that calls `torch.rand`, `numpy.random` or `random` draws the same numbers for the same
    sample in the same epoch, in any batch, with any number of workers and processes, and after a run was
    broken off. What the model draws is left alone. A dataset whose attribute `deterministic` is true draws
    nothing: it is spared the time that this takes, and asked for a whole batch at once (``__getitems__``).
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> Any:
        if getattr(self.dataset, "deterministic", False) and hasattr(self.dataset, "__getitems__"):
            return self.dataset.__getitems__([index for _, index in keys])
        # a worker's random numbers are nobody else's; there `collate` may go on drawing from them
        with nullcontext() if get_worker_info() else states_kept():
            rows = []
            for epoch, index in keys:
                reseed(mixed(self.seed, epoch, index))
                rows.append(self.dataset[index])
            return rows


def mixed(seed: int, epoch: int, index: int) -> int:
    """One number in [0, 2**64) of these three; in far less time than `mmbook.seeding.digest` takes."""
    number = (seed * 0x9E3779B97F4A7C15 + epoch * 0xBF58476D1CE4E5B9 + index * 0x94D049BB133111EB) % 2**64
    return number ^ (number >> 31)


class Read(NamedTuple):
    """What a worker hands over: a collated batch, or None where nothing was readable; and what was not."""

    batch: Mapping[str, Any] | None
    skipped: list[Skipped]


class Collated:
    """`collate` over the rows that could be read; the others are named."""

    def __init__(self, collate: Collate) -> None:
        self.collate = collate

    def __call__(self, rows: Sequence[Any]) -> Read:
        if not isinstance(rows, list) or not any(row is None or isinstance(row, Skipped) for row in rows):
            return Read(self.collate(rows), [])
        good = [row for row in rows if row is not None and not isinstance(row, Skipped)]
        return Read(self.collate(good) if good else None, [row for row in rows if isinstance(row, Skipped)])


def size_of(batch: Mapping[str, Any]) -> int:
    """The number of samples: the first dimension of the first tensor that has one."""
    return len(next(value for value in batch.values() if isinstance(value, Tensor) and value.dim() > 0))


def parts_of(
    batch: Mapping[str, Any], count: int, real: int | None = None
) -> list[tuple[dict[str, Any], int]]:
    """The batch cut into `count` parts along its samples, as equal as can be, each with how many count.

    Args:
        batch: flat dict; what has the batch's size as its first dimension is cut, the rest goes to all parts.
        count: of parts. Where there are fewer samples, some parts repeat the first one and count for 0.
        real: samples of the batch that count; None for all.
    """
    size = size_of(batch)
    real = size if real is None else real
    if count == 1:
        return [(dict(batch), real)]
    parts, start = [], 0
    for i in range(count):
        number = share(real, i, count)
        rows = slice(start, start + number) if number else slice(0, 1)
        part = {k: v[rows] if _cuttable(v) and len(v) == size else v for k, v in batch.items()}
        parts.append((part, number))
        start += number
    return parts


def _cuttable(value: Any) -> bool:
    return isinstance(value, list) or (isinstance(value, Tensor) and value.dim() > 0)
