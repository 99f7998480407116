"""What more devices would give, from a few measured numbers: seconds a step, efficiency, money, energy.

A step over a global batch on n devices, each of which holds the whole model, takes

    compute (a sample's, times batch / n) + update + that part of the exchange which nothing hides,

or as long as its samples take to arrive, if that is longer. Every device does the whole update: the serial
part of Amdahl (1967), https://doi.org/10.1145/1465482.1465560. Times are in seconds, sizes in bytes.
Left out: stragglers, failures, and that a device is slower a sample where it has few.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple


def _check(given: Any, **most: float) -> None:
    for name, value in ((field.name, getattr(given, field.name)) for field in fields(given)):
        high = most.get(name)
        if isinstance(value, int | float) and not (value > 0 if high is None else 0 <= value <= high):
            allowed = "a number above 0" if high is None else f"one from 0 to {high}"
            raise ValueError(f"{name} is {value}; give {allowed}, in the unit of {type(given).__name__}")


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a training asks of any device.

    Attributes:
        flops: floating-point operations of one sample, forward and backward.
        parameters: that are trained.
        gradient_bytes: of one number of the gradient on its way; 4 for float32.
        update_bytes: that the optimiser reads and writes a parameter; Adam reads 4 numbers and writes 3.
    """

    flops: float
    parameters: int
    gradient_bytes: float = 4
    update_bytes: float = 28

    def __post_init__(self) -> None:
        _check(self, update_bytes=math.inf)


@dataclass(frozen=True, kw_only=True)
class Device:
    """A GPU, or a process on a CPU.

    Attributes:
        peak: precision -> FLOP/s, as the maker states them.
        precision: the one in use, a key of `peak`.
        mfu: model FLOPs utilisation, the share of the peak that a training step on one device reaches:
            ``flops * batch / (seconds * peak)``, at most 1 (Chowdhery 2022, https://arxiv.org/abs/2204.02311).
        batch: samples of a step when it was measured.
        memory_bandwidth: bytes/s of its own memory.
        price: money for an hour.
        watts: while it works, with its share of the machine around it.
    """

    peak: Mapping[str, float]
    precision: str
    mfu: float
    batch: int
    memory_bandwidth: float
    price: float = 0.0
    watts: float = 0.0

    def __post_init__(self) -> None:
        _check(self, price=math.inf, watts=math.inf)
        if self.precision not in self.peak:
            raise ValueError(f"precision is {self.precision!r}; choose from peak: {', '.join(self.peak)}")
        if self.mfu > 1:
            raise ValueError(f"mfu is {self.mfu}; it is at most 1: check the peak and the operations")

    def seconds(self, work: Work) -> tuple[float, float]:
        """Of one sample, forward and backward; and of an update, which waits for memory, not arithmetic."""
        step = work.flops * self.batch / (self.peak[self.precision] * self.mfu)
        update = work.update_bytes * work.parameters / self.memory_bandwidth
        if update >= step:
            seen = f"memory_bandwidth is {self.memory_bandwidth}, so an update alone takes {update} s"
            raise ValueError(f"{seen}; the measured step is {step} s, and must be longer: check both")
        return (step - update) / self.batch, update


@dataclass(frozen=True, kw_only=True)
class Link:
    """What joins devices: bytes/s that each can send, and the seconds that any message takes beside that."""

    bandwidth: float
    latency: float = 0.0

    def __post_init__(self) -> None:
        _check(self, latency=math.inf)


def ring_all_reduce(size: float, devices: int, link: Link) -> float:
    """Seconds until all `devices` have the sum of their `size` bytes: 2 (n - 1) messages of size / n bytes.

    Source: Patarasuk and Yuan (2009), https://doi.org/10.1016/j.jpdc.2008.09.002.
    """
    return 2 * (devices - 1) * (size / devices / link.bandwidth + link.latency)


def crossover(work: Work, device: Device, link: Link, batch: int) -> float:
    """The n at which gradients of a global `batch` take as long to exchange as to compute, latency apart.

    From ``batch * t / n = 2 (n - 1) / n * size / bandwidth``. Where compute hides nothing and the update
    costs nothing, efficiency is 1/2 there.
    """
    return 1 + batch * device.seconds(work)[0] * link.bandwidth / (2 * work.gradient_bytes * work.parameters)


class StepTime(NamedTuple):
    """A step: samples and devices, seconds of its parts, and of all; `exposed` is the exchange not hidden."""

    devices: int
    batch: int
    compute: float
    update: float
    exchange: float
    exposed: float
    loading: float
    seconds: float

    def efficiency(self, one: StepTime) -> float:
        """Samples/s of a device here, as a share of those of a device in `one`."""
        return self.batch / self.devices / self.seconds * one.devices * one.seconds / one.batch


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Devices of one kind, and what joins them.

    Attributes:
        link: between devices of a node.
        between: from node to node, the bandwidth that of a whole node; None where all are in one.
        node: devices in a node, where there is a `between`.
        overlap: share of the compute behind which gradients can be sent, at most the backward pass, 2/3; 0
            where the same cores compute and send.
        loading: samples/s at which the data arrive, for all devices together.
    """

    device: Device
    link: Link
    between: Link | None = None
    node: int = 8
    overlap: float = 2 / 3
    loading: float = math.inf

    def __post_init__(self) -> None:
        _check(self, overlap=1)

    def exchange(self, size: float, devices: int) -> float:
        """Seconds to sum `size` bytes over `devices`: inside each node, then between full nodes."""
        if self.between is None or devices <= self.node:
            return ring_all_reduce(size, devices, self.link)
        if devices % self.node:
            raise ValueError(f"devices is {devices}; give at most {self.node} (node), or a multiple of it")
        nodes = ring_all_reduce(size, devices // self.node, self.between)
        return ring_all_reduce(size, self.node, self.link) + nodes

    def step(self, work: Work, devices: int, batch: int) -> StepTime:
        """A step over a global `batch`; a device works through a part that is too large for it piecemeal."""
        if not 1 <= devices <= batch:
            raise ValueError(f"devices is {devices}; with a batch of {batch} give from 1 to {batch}")
        sample, update = self.device.seconds(work)
        compute, loading = batch / devices * sample, batch / self.loading
        exchange = self.exchange(work.gradient_bytes * work.parameters, devices)
        exposed = max(0.0, exchange - self.overlap * compute)
        whole = max(compute + update + exposed, loading)
        return StepTime(devices, batch, compute, update, exchange, exposed, loading, whole)

    def training(self, work: Work, devices: int, batch: int, samples: float) -> dict[str, float]:
        """``hours``, ``money`` and ``kilowatt_hours`` to work through `samples`, all epochs counted."""
        hours = samples / batch * self.step(work, devices, batch).seconds / 3600
        money, energy = devices * hours * self.device.price, devices * hours * self.device.watts / 1000
        return {"hours": hours, "money": money, "kilowatt_hours": energy}
