"""The memory of a training step, worked out from shapes alone: what is held, and the most at any moment.

Operations are followed without numbers (`Trace`), as a GPU would do them (`LikeGPU`).
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from mmbook.train.batches import parts_of, size_of

_aten = torch.ops.aten
_INDEXING = (_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default)


class Trace(TorchDispatchMode):
    """Runs what is under it on tensors without numbers, and counts the bytes that are alive.

    Whole numbers and masks keep their values, as long as they are computed from such: a model may branch on
    them, or leave out the rows that a mask leaves out.

    Attributes:
        now, most: bytes alive, and the most so far, of tensors made under the trace.
    """

    def __init__(self) -> None:
        super().__init__()
        from torch._subclasses.fake_tensor import FakeTensorMode

        self.shapes = FakeTensorMode()
        self.now = self.most = 0
        self.counted: weakref.WeakSet[Any] = weakref.WeakSet()

    def like(self, tensor: Tensor) -> Tensor:
        """A stand-in for `tensor`: its shape, type and strides, and its values if they are whole numbers."""
        with self.shapes:
            size, stride = tensor.size(), tensor.stride()
            found = torch.empty_strided(size, stride, dtype=tensor.dtype, device="cpu")
        if isinstance(tensor, torch.nn.Parameter):
            return torch.nn.Parameter(found, tensor.requires_grad)
        if not tensor.is_floating_point() and tensor.device.type != "meta":
            _learn(found, tensor.detach().cpu().clone())
        return found

    def ignore(self, tensors: Iterable[Tensor]) -> set[Any]:
        """Never count these; returns their storages."""
        storages = {tensor.untyped_storage() for tensor in tensors}
        self.counted.update(storages)
        return storages

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.prim.device.default:  # asked for at every step; nothing is made
            return args[0].fake_device
        kwargs = kwargs or {}
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        known = all(hasattr(x, "known") for x in inputs)
        if known and func is _aten._local_scalar_dense.default:
            return args[0].known.item()
        if known and func is _aten.nonzero.default:
            return self._count(self._with_values(args[0].known.nonzero()))
        if func in _INDEXING:
            args = (args[0], self._places(args[1]), *args[2:])
        with self.shapes:
            out = func(*args, **kwargs)
        made = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        if known and made and not any(x.is_floating_point() for x in made):
            values = func(*tree_map(_value, args), **tree_map(_value, kwargs))
            for x, value in zip(made, tree_leaves(values), strict=True):
                _learn(x, value)
        elif func._schema.is_mutable and hasattr(args[0], "known"):
            del args[0].known
        for x in made:
            self._count(x)
        return out

    def _places(self, index: Any) -> list[Any]:
        """A mask in an index as the places where it is True, or the size of the result would be unknown."""
        places: list[Any] = []
        for part in index:
            if part is not None and part.dtype == torch.bool and hasattr(part, "known"):
                places += [self._with_values(where) for where in part.known.nonzero(as_tuple=True)]
            else:
                places.append(part)
        return places

    def _with_values(self, values: Tensor) -> Tensor:
        found = self.shapes.from_tensor(values)
        _learn(found, values)
        return found

    def _count(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage not in self.counted:
            self.counted.add(storage)
            size = storage.nbytes()
            self.now += size
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._released, size)
        return tensor

    def _released(self, size: int) -> None:
        self.now -= size


def _learn(tensor: Any, values: Any) -> None:
    tensor.known = values


def _value(x: Any) -> Any:
    return getattr(x, "known", x)


class LikeGPU(TorchFunctionMode):
    """Dropout, attention and mixed precision as on a GPU, for tensors that say they are on the CPU.

    There dropout keeps a mask of one byte for each number, attention keeps no weights, and what autocast
    computes in float32 is more than on the CPU.

    Args:
        low: the type that autocast uses, or None for no autocast.
    """

    FLOAT32 = (
        *(F.layer_norm, F.group_norm, F.softmax, F.log_softmax, F.cross_entropy, F.mse_loss, F.l1_loss),
        *(torch.layer_norm, torch.group_norm, torch.softmax, torch.log_softmax),  # called past torch.nn
    )

    def __init__(self, low: torch.dtype | None) -> None:
        super().__init__()
        self.low = low

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.dropout:
            return _dropout(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            q, k, v, *rest = args
            if self.low is not None and torch.is_autocast_enabled("cpu"):
                q, k, v = (x.to(self.low) for x in (q, k, v))
            return _attention(q, k, v, *rest, **kwargs)
        if self.low is not None and func in self.FLOAT32 and torch.is_autocast_enabled("cpu"):
            args, kwargs = tree_map(_float32, args), tree_map(_float32, kwargs)
            with torch.autocast("cpu", enabled=False):
                return func(*args, **kwargs)
        return func(*args, **kwargs)


def _float32(x: Any) -> Any:
    return x.float() if isinstance(x, Tensor) and x.is_floating_point() else x


def _dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    return torch.native_dropout(x, p, True)[0] if training and p > 0 else x


def _attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Memory-efficient attention: of the weights only the logarithms of their sums are kept."""
    if enable_gqa:
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            bias = torch.zeros_like(attn_mask, dtype=q.dtype)
            attn_mask = bias.masked_fill_(~attn_mask, float("-inf"))
        attn_mask = attn_mask.expand(*q.shape[:-1], k.shape[-2])
    return _aten._scaled_dot_product_efficient_attention(
        q, k, v, attn_mask, True, dropout_p, is_causal, scale=scale
    )[0]


# Numbers that an optimiser keeps for each trained number, and bytes for each trained tensor (a step count).
STATES = {"sgd": (1, 0), "adam": (2, 4), "adamw": (2, 4)}
LOW = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}
DEVICES = ["cuda", "cpu"]


class Memory(NamedTuple):
    """Bytes of one training step.

    Attributes:
        parameters: all weights, frozen ones too. Under "bf16" and "fp16" they stay float32.
        buffers: what a module keeps beside its weights, such as the averages of batch norm.
        gradients: of the trained weights.
        optimizer: what the optimiser remembers of them.
        average: their running average, if there is one.
        batch: the inputs and labels, of the whole batch.
        activations: what autograd keeps between forward and backward, of one part of the batch; with low
            precision also the copies of the weights.
        peak: the most that is held at one moment. Not the sum: during the backward pass activations go while
            gradients come.
    """

    parameters: int
    buffers: int
    gradients: int
    optimizer: int
    average: int
    batch: int
    activations: int
    peak: int


def predict_memory(
    model: nn.Module,
    batch: Mapping[str, Any],
    *,
    optimizer: str = "adamw",
    precision: str = "no",
    ema: bool = False,
    accumulate: int = 1,
    device: str = "cuda",
) -> Memory:
    """What a training step of `mmbook.Trainer` will hold, without running it and without its memory.

    The step is traced on tensors that have shapes and no numbers; only whole numbers and masks have values,
    since models branch on them. Every operation's result is counted until it is released. Not seen is what
    a library takes inside one operation (the workspaces of cuDNN and cuBLAS, say), nor what the allocator
    holds in reserve.

    Args:
        model: ``model(**batch).loss`` is a scalar; on any device, "meta" too, and not changed.
        batch: flat dict, as `mmbook.collate` makes it; its floating-point tensors may be on "meta".
        optimizer: "adamw", "adam" or "sgd" (momentum 0.9), in its second step or later.
        precision: "no" (float32), "bf16" or "fp16".
        ema: whether a running average of the weights is kept.
        accumulate: parts in which the batch is worked through.
        device: "cuda" traces dropout, attention and mixed precision as a GPU does them, "cpu" as the CPU.

    Raises:
        ValueError: a value that is not allowed, nothing to train, or a model that branches on
            floating-point values.

    Source: what is kept and when it goes, Chen et al. (2016), https://arxiv.org/abs/1604.06174; weights in
    two precisions, Micikevicius et al. (2018), https://arxiv.org/abs/1710.03740.
    """
    got = {"optimizer": (optimizer, [*STATES]), "precision": (precision, [*LOW]), "device": (device, DEVICES)}
    for name, (value, allowed) in got.items():
        if value not in allowed:
            raise ValueError(f"{name} is {value!r}; choose one of {', '.join(allowed)}")
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError("no parameter has requires_grad=True; there is no training step to predict")
    trace = Trace()
    weights = {name: trace.like(p) for name, p in model.named_parameters()}
    buffers = {name: trace.like(b) for name, b in model.named_buffers()}
    inputs = {key: trace.like(v) if isinstance(v, Tensor) else v for key, v in batch.items()}
    tensors = [v for v in inputs.values() if isinstance(v, Tensor)]
    own = trace.ignore([*weights.values(), *buffers.values(), *tensors])
    activations = _step(model, weights | buffers, inputs, own, trace, LOW[precision], accumulate, device)
    trained = [p for p in weights.values() if p.requires_grad]
    gradients, (numbers, count) = storage_bytes(trained), STATES[optimizer]
    held = Memory(
        parameters=storage_bytes(weights.values()),
        buffers=storage_bytes(buffers.values()),
        gradients=gradients,
        optimizer=numbers * gradients + count * len(trained),
        average=gradients if ema else 0,
        batch=storage_bytes(tensors),
        activations=activations,
        peak=trace.most,
    )
    fixed = held.parameters + held.buffers + held.optimizer + held.average + held.batch
    return held._replace(peak=fixed + trace.most)


def largest_batch(model: nn.Module, batch: Mapping[str, Any], budget: int, **options: Any) -> int:
    """The most samples a step whose predicted peak stays within `budget` bytes; 0 where not even one does.

    The peak grows nearly linearly with the batch, so two predictions give a guess, and further ones mend it.

    Args:
        model, options: as in `predict_memory`.
        batch: at least one sample, of the size that all have; its rows are repeated.
        budget: bytes. Leave some for what is not seen.
    """

    def peak(count: int) -> int:
        return predict_memory(model, _resized(batch, count), **options).peak

    few, many = size_of(batch), 2 * size_of(batch)
    known = {few: peak(few), many: peak(many)}
    while True:
        fits = max((n for n, size in known.items() if size <= budget), default=0)
        over = min((n for n, size in known.items() if size > budget), default=None)
        if over == fits + 1:
            return fits
        a, b = sorted(known, key=lambda n: abs(known[n] - budget))[:2]
        slope = max(1.0, (known[b] - known[a]) / (b - a))
        guess = max(fits + 1, a + int((budget - known[a]) // slope))
        guess = guess if over is None else min(guess, over - 1)
        known[guess] = peak(guess)


def storage_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes that tensors occupy together; what two of them share counts once."""
    return sum({s._cdata: s.nbytes() for s in (t.untyped_storage() for t in tensors)}.values())


def _resized(batch: Mapping[str, Any], count: int) -> dict[str, Any]:
    """The batch with `count` samples; floating-point numbers become shapes."""
    size = size_of(batch)
    rows = torch.arange(count) % size

    def resize(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.dim() or len(value) != size:
            return value
        if value.is_floating_point():
            return torch.empty(count, *value.shape[1:], dtype=value.dtype, device="meta")
        return value.cpu()[rows]

    return {key: resize(value) for key, value in batch.items()}


def _step(
    model: nn.Module,
    state: Mapping[str, Tensor],
    batch: Mapping[str, Any],
    own: set[Any],
    trace: Trace,
    low: torch.dtype | None,
    accumulate: int,
    device: str,
) -> int:
    """Trace a step's forward and backward passes; returns what autograd kept in between, at most."""
    from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException

    kept, most = weakref.WeakSet[Any](), 0

    def keep(tensor: Tensor) -> Tensor:
        kept.add(tensor.untyped_storage())
        return tensor

    modes = {module: module.training for module in model.modules()}
    model.train()
    try:
        with torch.random.fork_rng(devices=[]), trace:
            # from the second part on the gradients are there already; a third is as the second
            for part, _ in parts_of(batch, accumulate)[:2]:
                with (
                    torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
                    LikeGPU(low) if device == "cuda" else nullcontext(),
                    torch.autocast("cpu", low, enabled=low is not None),
                ):
                    loss = torch.func.functional_call(model, dict(state), kwargs=part).loss
                most = max(most, sum(s.nbytes() for s in kept if s not in own))
                loss.backward()
                del loss
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        raise ValueError(
            f"the model branches on values in {error.func}, and a trace knows only those of whole numbers "
            f"and masks; give these as real tensors, or keep the branch out of the forward pass"
        ) from None
    finally:
        for module, training in modes.items():
            module.training = training
    return most
