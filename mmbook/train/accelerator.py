"""accelerate, as the trainer uses it: device, precision, what processes exchange, weights in shards."""

from __future__ import annotations

import functools
import os
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from torch import Tensor, nn

from mmbook.train.settings import Settings


def make_accelerator(settings: Settings, model: nn.Module) -> Accelerator:
    """One for this process, however it was started: by python, torchrun or accelerate launch.

    What accelerate's own configuration says (FSDP, say) holds; device and precision come from the settings.

    Raises:
        RuntimeError: the processes that were started together did not find each other.
    """
    # accelerate keeps one state a process and refuses a second precision: start from a clean one
    state = AcceleratorState._shared_state
    if state and state.get("_mixed_precision") != settings.precision:
        AcceleratorState._reset_state()
    # a part of the model may be without a gradient: in the other's turn, or where all samples lack a modality
    several = any(len(getattr(module, "encoders", ())) > 1 for module in model.modules())
    some_idle = several or hasattr(model, "turns") or hasattr(model, "objectives")
    accelerator = Accelerator(
        # without a GPU it must be told so, or each of several processes would train alone, on everything
        cpu=settings.device == "cpu" or not torch.accelerator.is_available(),
        mixed_precision=settings.precision,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=some_idle)],
    )
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != started:
        raise RuntimeError(
            f"WORLD_SIZE is {started}, but {accelerator.num_processes} processes train together; start them "
            f"by torchrun or accelerate launch, and before anything else uses accelerate"
        )
    return accelerator


def lean(accelerator: Accelerator, steppers: dict[str, Any]) -> tuple[dict[str, Any], Callable[..., Tensor]]:
    """Optimisers and clipping without what accelerate does around them, where it has nothing to do.

    Its step looks twice for a package that may be installed, and its clipping knows sharded gradients, which
    takes seconds to import; both matter only beside a gradient scaler or a sharded model.
    """
    if accelerator.scaler is not None:
        return steppers, accelerator.clip_grad_norm_
    bare = {turn: stepper.optimizer for turn, stepper in steppers.items()}
    sharded = accelerator.distributed_type == DistributedType.FSDP
    return bare, accelerator.clip_grad_norm_ if sharded else nn.utils.clip_grad_norm_


def everyones(accelerator: Accelerator, ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name -> ``(N, ...)`` of each process, put together in the processes' order; ours with its graph."""
    if accelerator.num_processes == 1:
        return dict(ours)
    count = len(next(iter(ours.values())))
    counts: Any = accelerator.gather(torch.tensor([count], device=accelerator.device))
    counts = counts.tolist()
    found = {}
    for name, value in ours.items():
        filled = value.detach().new_zeros((max(counts), *value.shape[1:]))
        filled[:count] = value.detach()
        theirs: Any = accelerator.gather(filled)
        each = [rows[:n] for rows, n in zip(theirs.split(max(counts)), counts, strict=True)]
        each[accelerator.process_index] = value
        found[name] = torch.cat(each)
    return found


def sums(accelerator: Accelerator, *numbers: int) -> list[int]:
    """Each of the numbers, summed over the processes."""
    if accelerator.num_processes == 1:
        return list(numbers)
    summed = torch.tensor(numbers)
    torch.distributed.all_reduce(summed, group=_host_group())
    return summed.tolist()


def alike(accelerator: Accelerator, batch: Mapping[str, Any], size: int) -> Mapping[str, Any]:
    """The batch, with an empty modality where all its `size` samples lack one that another process has.

    Else that process would wait for ever, in a norm or for a gradient, for one who never comes.
    """
    world = accelerator.num_processes
    keys = zlib.crc32(" ".join(sorted(batch)).encode()) % 2**24  # its square must fit in 64 bits
    ours = sums(accelerator, keys, keys * keys)
    if ours[0] == keys * world and ours[1] == keys * ours[0]:
        return batch
    specs = {name: (v.dtype, v.shape[2:]) for name, v in batch.items() if f"{name}_mask" in batch}
    each: list[Any] = [None] * world
    torch.distributed.all_gather_object(each, specs, group=_host_group())
    found = dict(batch)
    for name, (dtype, shape) in {k: v for other in each for k, v in other.items()}.items():
        if name not in batch:
            found[name] = torch.zeros(size, 1, *shape, dtype=dtype)
            found[f"{name}_mask"] = torch.zeros(size, 1, dtype=torch.bool)
    return found


@functools.cache
def _host_group() -> Any:
    """A group that talks from CPU to CPU, so that a question between processes does not stop the GPU."""
    return torch.distributed.new_group(backend="gloo")


def channels_last(model: nn.Module) -> None:
    """Store the weights of convolutions with the channels innermost; activations follow them."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in model.parameters():
        if parameter.dim() in formats:
            parameter.data = parameter.data.contiguous(memory_format=formats[parameter.dim()])


def whole(value: Any) -> Any:
    """The tensor whose shard this is (all processes must ask for it together); anything else as it is."""
    return value.full_tensor() if is_sharded(value) else value


def cut_as(value: Tensor, own: Tensor) -> Tensor:
    """This process's shard of the whole tensor `value`, cut as `own` is."""
    if not is_sharded(own):
        return value
    from torch.distributed.tensor import distribute_tensor

    # each process has the whole: nothing needs to be sent
    where: Any = own
    return distribute_tensor(value.to(own.device), where.device_mesh, where.placements, src_data_rank=None)


def is_sharded(value: Any) -> bool:
    """By what it can do: importing the class takes seconds, which only a sharded run should spend."""
    return hasattr(value, "full_tensor")
