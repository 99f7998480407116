"""accelerate, as the trainer uses it: device, precision, processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from torch import Tensor, nn

from mmbook.train.settings import Settings


def make_engine(settings: Settings, model: nn.Module) -> Accelerator:
    """An engine for this process, however it was started: by python, torchrun or accelerate launch.

    What accelerate's own configuration says (FSDP, say) holds; device and precision come from the settings.

    Raises:
        RuntimeError: the processes that were started together did not find each other.
    """
    # accelerate keeps one state a process and refuses a second precision: start from a clean one
    state = AcceleratorState._shared_state
    if state and state.get("_mixed_precision") != settings.precision:
        AcceleratorState._reset_state()
    # a part of the model may be without a gradient: in the other's turn, or where all samples lack a modality
    some_idle = hasattr(model, "turns") or len(getattr(model, "encoders", ())) > 1
    engine = Accelerator(
        # without a GPU it must be told so, or each of several processes would train alone, on everything
        cpu=settings.device == "cpu" or not torch.accelerator.is_available(),
        mixed_precision=settings.precision,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=some_idle)],
    )
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if engine.num_processes != started:
        raise RuntimeError(
            f"WORLD_SIZE is {started}, but the processes that train together are {engine.num_processes}; "
            f"start them by torchrun or accelerate launch, and before anything else uses accelerate"
        )
    return engine


def lean(engine: Accelerator, steppers: dict[str, Any]) -> tuple[dict[str, Any], Callable[..., Tensor]]:
    """Optimisers and clipping without what accelerate does around them, where it has nothing to do.

    Its step looks twice for a package that may be installed, and its clipping knows sharded gradients, which
    takes seconds to import; both matter only beside a gradient scaler or a sharded model.
    """
    if engine.scaler is not None:
        return steppers, engine.clip_grad_norm_
    bare = {turn: stepper.optimizer for turn, stepper in steppers.items()}
    sharded = engine.distributed_type == DistributedType.FSDP
    return bare, engine.clip_grad_norm_ if sharded else nn.utils.clip_grad_norm_


def channels_last(model: nn.Module) -> None:
    """Store the weights of convolutions with the channels innermost; activations follow them."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in model.parameters():
        if parameter.dim() in formats:
            parameter.data = parameter.data.contiguous(memory_format=formats[parameter.dim()])
