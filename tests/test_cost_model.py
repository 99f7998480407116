"""The cost model: what must hold for any numbers, and what is known in closed form."""

import itertools
import math
import random

import pytest

from mmbook.book.written.cost_model import Cluster, Device, Link, Work, crossover, ring_all_reduce

COUNTS = (1, 2, 4, 8, 16, 64, 256, 1024)
WORK = Work(flops=250e9, parameters=200_000_000)
GPU = {"peak": {"bf16": 1e15, "float32": 7e13}, "precision": "bf16", "mfu": 0.3, "batch": 64}
GPU |= {"memory_bandwidth": 4e12, "price": 3.0, "watts": 1000.0}
FAST = {"link": Link(bandwidth=4e11, latency=5e-6), "between": Link(bandwidth=2e11, latency=1e-5)}


def near(value):
    return pytest.approx(value, rel=1e-12)


def clusters(count=200):
    """Clusters and works of any kind: slow and fast links, one node or many, bound by loading or not."""
    draw = random.Random(0)

    def between(low, high):
        return 10 ** draw.uniform(math.log10(low), math.log10(high))

    for _ in range(count):
        work = Work(flops=between(1e11, 1e14), parameters=int(between(1e4, 1e8)))
        changes = {"mfu": draw.uniform(0.01, 0.5), "batch": draw.randint(8, 256)}
        device = Device(**(GPU | changes | {"memory_bandwidth": between(1e13, 1e15)}))
        links = [Link(bandwidth=between(1e8, 1e12), latency=between(1e-7, 1e-3)) for _ in range(2)]
        loading = draw.choice([math.inf, between(1, 1e6)])
        more = {"between": draw.choice([None, links[1]]), "overlap": draw.uniform(0, 1), "loading": loading}
        yield work, Cluster(device=device, link=links[0], **more)


def test_one_device_takes_what_was_measured():
    for seconds, batch in ((0.127, 64), (3.0, 7)):
        mfu = WORK.flops * batch / (seconds * 1e15)
        cluster = Cluster(device=Device(**(GPU | {"mfu": mfu, "batch": batch})), **FAST)
        step = cluster.step(WORK, 1, batch)
        assert step.seconds == near(seconds) and step.exchange == 0
        assert step.compute + step.update == near(seconds)


def test_no_part_is_lost():
    for work, cluster in clusters():
        for n in COUNTS:
            step = cluster.step(work, n, 2048)
            assert step.seconds == near(max(step.compute + step.update + step.exposed, step.loading))
            assert 0 <= step.exposed <= step.exchange and step.batch == 2048 and step.devices == n


def test_never_faster_than_n_times():
    for work, cluster in clusters():
        one = cluster.step(work, 1, 2048)
        for n in COUNTS:
            assert cluster.step(work, n, 2048).seconds >= one.seconds / n * (1 - 1e-12)


def test_strong_scaling_loses_efficiency_with_every_device():
    for work, cluster in clusters():
        one = cluster.step(work, 1, 2048)
        found = [cluster.step(work, n, 2048).efficiency(one) for n in COUNTS]
        assert found[0] == near(1)
        assert all(b <= a * (1 + 1e-12) for a, b in itertools.pairwise(found))
        assert found[-1] < 1, "the update alone is not shared"


def test_weak_scaling_loses_only_what_is_exchanged_or_waited_for():
    for work, cluster in clusters():
        one = cluster.step(work, 1, 64)
        steps = [cluster.step(work, n, 64 * n) for n in COUNTS]
        assert all(step.compute == near(one.compute) and step.update == one.update for step in steps)
        found = [step.efficiency(one) for step in steps]
        assert found == [near(one.seconds / step.seconds) for step in steps]
        assert all(b <= a * (1 + 1e-12) for a, b in itertools.pairwise(found))
    free = Cluster(device=Device(**GPU), link=Link(bandwidth=1e30))
    assert free.step(WORK, 1024, 64 * 1024).efficiency(free.step(WORK, 1, 64)) == near(1)


def test_amdahl_where_communication_is_free():
    free = Cluster(device=Device(**GPU), link=Link(bandwidth=1e30))
    one = free.step(WORK, 1, 1024)
    serial = one.update / one.seconds
    for n in COUNTS:
        assert one.seconds / free.step(WORK, n, 1024).seconds == near(1 / (serial + (1 - serial) / n))


def test_the_ring_sends_what_its_rounds_send():
    """Added up message by message, as the algorithm sends them."""
    link = Link(bandwidth=1e9, latency=1e-4)
    for n in (1, 2, 3, 8):
        rounds = [6e6 / n / link.bandwidth + link.latency for _ in range(2) for _ in range(n - 1)]
        assert ring_all_reduce(6e6, n, link) == near(sum(rounds))
    free = Link(bandwidth=1e9)
    assert ring_all_reduce(6e6, 10_000, free) < 2 * 6e6 / 1e9, "never more than twice the gradient"


def test_crossover_is_where_exchange_and_compute_take_equally_long():
    work = Work(flops=250e9, parameters=200_000_000, update_bytes=0)
    device, link = Device(**GPU), Link(bandwidth=1e10)
    n = crossover(work, device, link, 4096)
    plain = Cluster(device=device, link=link, overlap=0)
    below, above = plain.step(work, math.floor(n), 4096), plain.step(work, math.floor(n) + 1, 4096)
    assert below.compute >= below.exchange and above.compute < above.exchange
    # a link so fast that it falls on n = 8
    wanted = 7 * 2 * work.gradient_bytes * work.parameters / (4096 * device.seconds(work)[0])
    link = Link(bandwidth=wanted)
    assert crossover(work, device, link, 4096) == near(8)
    plain = Cluster(device=device, link=link, overlap=0)
    step = plain.step(work, 8, 4096)
    assert step.exchange == near(step.compute)
    assert step.efficiency(plain.step(work, 1, 4096)) == near(0.5)


def test_overlap_hides_at_most_its_share():
    link = Link(bandwidth=1e10)
    for overlap in (0, 0.5, 2 / 3, 1):
        step = Cluster(device=Device(**GPU), link=link, overlap=overlap).step(WORK, 8, 64)
        assert step.exposed == near(step.exchange - overlap * step.compute) and step.exposed > 0
        long = Cluster(device=Device(**GPU), link=link, overlap=overlap).step(WORK, 8, 64 * 1024)
        assert (long.exposed == 0) == (overlap > 0)


def test_nodes_send_inside_and_then_between():
    cluster = Cluster(device=Device(**GPU), **FAST)
    size = 8e8
    assert cluster.exchange(size, 8) == ring_all_reduce(size, 8, cluster.link)
    both = ring_all_reduce(size, 8, cluster.link) + ring_all_reduce(size, 4, cluster.between)
    assert cluster.exchange(size, 32) == near(both)
    # one flat ring would cross the slow link with the whole gradient and wait for it 62 times
    slow = Cluster(device=Device(**GPU), link=FAST["link"], between=Link(bandwidth=1e9, latency=1e-3))
    assert slow.exchange(size, 32) < ring_all_reduce(size, 32, slow.between)


def test_data_that_arrive_slowly_are_the_limit():
    slow = Cluster(device=Device(**GPU), loading=1000.0, **FAST)
    for n in COUNTS[3:]:
        assert slow.step(WORK, n, 2048).seconds == near(2.048)
    enough = Cluster(device=Device(**GPU), loading=1e12, **FAST)
    plain = Cluster(device=Device(**GPU), **FAST)
    assert enough.step(WORK, 8, 2048).seconds == plain.step(WORK, 8, 2048).seconds


def test_time_money_and_energy():
    cluster = Cluster(device=Device(**GPU), **FAST)
    found = {n: cluster.training(WORK, n, 2048, 1e8) for n in COUNTS}
    for n, cost in found.items():
        seconds = 1e8 / 2048 * cluster.step(WORK, n, 2048).seconds
        assert cost["hours"] == near(seconds / 3600)
        assert cost["money"] == near(3.0 * n * seconds / 3600)
        assert cost["kilowatt_hours"] == near(1000 * n * seconds / 3.6e6)
        efficiency = cluster.step(WORK, n, 2048).efficiency(cluster.step(WORK, 1, 2048))
        assert cost["money"] == near(found[1]["money"] / efficiency), "what is lost is paid for"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Work(flops=0, parameters=1), "flops is 0.*above 0.*Work"),
        (lambda: Work(flops=math.nan, parameters=1), "flops is nan"),
        (lambda: Work(flops=1, parameters=1, update_bytes=-1), "update_bytes is -1.*from 0"),
        (lambda: Device(**GPU | {"mfu": 1.2}), "mfu is 1.2.*at most 1.*check"),
        (lambda: Device(**GPU | {"precision": "fp8"}), "precision is 'fp8'.*bf16, float32"),
        (lambda: Device(**GPU | {"price": -3}), "price is -3"),
        (lambda: Link(bandwidth=0), "bandwidth is 0.*above 0.*Link"),
        (lambda: Cluster(device=Device(**GPU), overlap=1.5, **FAST), "overlap is 1.5.*from 0 to 1"),
        (lambda: Cluster(device=Device(**GPU), **FAST).step(WORK, 65, 64), "devices is 65.*1 to 64"),
        (lambda: Cluster(device=Device(**GPU), **FAST).step(WORK, 0, 64), "devices is 0.*1 to 64"),
        (
            lambda: Cluster(device=Device(**GPU), **FAST).step(WORK, 12, 64),
            "devices is 12.*at most 8.*multiple",
        ),
        (lambda: Device(**GPU | {"memory_bandwidth": 1e9}).seconds(WORK), "memory_bandwidth.*longer.*check"),
    ],
)
def test_numbers_that_cannot_be(make, words):
    with pytest.raises(ValueError, match=words):
        make()
