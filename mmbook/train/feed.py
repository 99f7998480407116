"""Batches on the device, step by step, for each of the processes that train together."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch.utils.data import DataLoader, Dataset, IterableDataset

from mmbook.data.files import Skipped
from mmbook.train.batches import size_of
from mmbook.train.loading import Batches, Collated, Read, Repeatable, Stream


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


class Feed:
    """A dataset as steps.

    Args:
        dataset: with length and index, or an IterableDataset that each process reads its own part of.
        collate: list of rows -> flat dict of tensors.
        batch_size: samples in a step, of all processes.
        workers: processes that load data.
        engine: knows the device and the other processes.
        seed: of all random draws.
        shuffle: whether the order of the samples is another in each epoch (an IterableDataset sees to
            its order itself).

    Raises:
        ValueError: an empty dataset, or a stream whose batch size the processes cannot share equally.
    """

    def __init__(
        self,
        dataset: Dataset,
        collate: Callable[[Sequence[Any]], Mapping[str, Any]],
        batch_size: int,
        workers: int,
        engine: Accelerator,
        seed: int,
        shuffle: bool,
    ) -> None:
        self.dataset, self.engine, self.batch_size = dataset, engine, batch_size
        self.options: dict[str, Any] = {
            "collate_fn": Collated(collate),
            "num_workers": workers,
            "pin_memory": engine.device.type == "cuda",
        }
        if isinstance(dataset, IterableDataset):
            if batch_size % engine.num_processes:
                raise ValueError(
                    f"batch_size is {batch_size}, which {engine.num_processes} processes cannot share "
                    f"equally; over a stream it must be a multiple of their number"
                )
            return
        count = len(dataset)  # type: ignore[arg-type]
        self.batches = Batches(
            count, batch_size, engine.process_index, engine.num_processes, seed if shuffle else None
        )
        self.loader = DataLoader(
            Repeatable(dataset, seed),
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
        if isinstance(self.dataset, IterableDataset):
            local = self.batch_size // self.engine.num_processes
            stream = Stream(self.dataset, epoch, start, local)
            steps = self._agreed(iter(DataLoader(stream, local, **self.options)), start)
        else:
            self.batches.epoch, self.batches.start = epoch, start
            steps = self._known(iter(self.loader), start)
        torch.set_rng_state(state)
        if start == 0:
            torch.empty((), dtype=torch.int64).random_()
        return steps

    def _known(self, reads: Iterator[Read], start: int) -> Iterator[Step]:
        for step, read in enumerate(reads, start):
            assert read.batch is not None
            batch = self._alike(dict(read.batch))
            yield Step(self._placed(batch), self.batches.real(step), self.batches.total(step), read.skipped)

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
            total, going = self._sums(real, int(read is not None))
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
            ready = self._placed(self._alike(dict(batch))) if total and batch is not None else {}
            yield Step(ready, real, total, read.skipped if read is not None else [])

    def _placed(self, batch: Mapping[str, Any]) -> Mapping[str, Any]:
        if self.engine.device.type == "cpu":  # it is there already
            return batch
        return send_to_device(batch, self.engine.device, non_blocking=True)

    def _sums(self, *numbers: int) -> list[int]:
        if self.engine.num_processes == 1:
            return list(numbers)
        summed = torch.tensor(numbers)
        torch.distributed.all_reduce(summed, group=_host_group())
        return summed.tolist()

    def _alike(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Give the batch an empty modality where all its samples lack one that another process has.

        Else that process would wait for ever, in a norm or for a gradient, for one who never comes.
        """
        if self.engine.num_processes == 1:
            return batch
        keys = zlib.crc32(" ".join(sorted(batch)).encode()) % 2**24  # its square must fit in 64 bits
        ours = self._sums(keys, keys * keys)
        if ours[0] == keys * self.engine.num_processes and ours[1] == keys * ours[0]:
            return batch
        specs = {
            key: (value.dtype, value.shape[2:]) for key, value in batch.items() if f"{key}_mask" in batch
        }
        everyones: list[Any] = [None] * self.engine.num_processes
        torch.distributed.all_gather_object(everyones, specs, group=_host_group())
        size = size_of(batch)
        for name, (dtype, shape) in {k: v for each in everyones for k, v in each.items()}.items():
            if name not in batch:
                batch[name] = torch.zeros(size, 1, *shape, dtype=dtype)
                batch[f"{name}_mask"] = torch.zeros(size, 1, dtype=torch.bool)
        return batch


@functools.cache
def _host_group() -> Any:
    """A group that talks from CPU to CPU, so that a question between processes does not stop the GPU."""
    return torch.distributed.new_group(backend="gloo")
