"""Operations followed without numbers: shapes, what is alive, and how a GPU would do them."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

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

    FLOAT32 = (F.layer_norm, F.group_norm, F.softmax, F.log_softmax, F.cross_entropy, F.mse_loss, F.l1_loss)

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
