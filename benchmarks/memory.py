"""The most tensor memory a step holds at once."""

from __future__ import annotations

from collections.abc import Callable

import torch


def peak_mb(step: Callable[[], object]) -> float:
    """Megabytes that `step` allocates on top of what was there, at the moment when it holds most.

    On a GPU from the allocator's own counter. On the CPU from the profiler's record of every allocation and
    release, which repeats exactly from run to run; the resident size of the process would not, since the
    system hands memory back when it pleases. Scratch space that a library takes past PyTorch's allocator is
    not seen.
    """
    step()  # whatever is kept from the first call on was there before the measured one
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as record:
        step()
    changes = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    changes.sort(key=lambda event: event.start_ns())
    held = most = 0
    for change in changes:
        held += change.nbytes()
        most = max(most, held)
    return most / 1e6
