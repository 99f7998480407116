"""A model's logits as a function of one thing inside: a modality's values, its word vectors, its frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from mmbook.modality import Modality

if TYPE_CHECKING:
    from mmbook.models import MultimodalModel


class Explained(NamedTuple):
    """What a saliency method needs.

    Attributes:
        logits: values ``(B, T, ...)`` -> ``(B, C)``.
        x: the values at the input, zero where nothing is real.
        real: of the same number of dimensions, 1 where real.
    """

    logits: Callable[[Tensor], Tensor]
    x: Tensor
    real: Tensor


@contextmanager
def explained(
    model: MultimodalModel, batch: Mapping[str, Tensor], name: str, layer: nn.Module | None = None
) -> Iterator[Explained]:
    """Within the context the model is in evaluation mode, and its logits depend on what is asked about.

    Args:
        model: with the encoder `name`.
        batch: as `collate` makes it.
        name: of a modality.
        layer: explain the output of this module of the encoder, a tensor or a `Modality`, such as the log-mel
            frames of a `MelCNN`; None for the input itself, and where that is ids, for their word vectors.

    Raises:
        ValueError: a modality that batch or model do not have; a layer that does not run; ids that are looked
            up in no table.
    """
    if name not in model.encoders or batch.get(name) is None:
        raise ValueError(
            f"no modality {name!r} to explain; the model has {', '.join(model.encoders)}, the batch "
            f"{', '.join(batch)}"
        )
    training, device = model.training, next(model.parameters()).device
    inputs: dict[str, Any] = {k: v.to(device) for k, v in batch.items() if k not in ("labels", "ids")}
    values = inputs[name]
    mask = inputs.setdefault(f"{name}_mask", torch.ones(values.shape[:2], dtype=torch.bool, device=device))
    model.eval()
    try:
        if layer is None and values.is_floating_point():
            x = Modality(values, mask).cleaned().values
            yield Explained(lambda value: model(**inputs | {name: value}).logits, x, _like(mask, x))
        else:
            encoder = model.encoders[name]
            with _replaced([layer] if layer else _tables(encoder), None if layer else values.shape) as swap:
                found = swap(lambda: model(**inputs), None)[1]
                x, inner = found if isinstance(found, Modality) else Modality(found, mask)
                real = _like(inner, x)
                yield Explained(lambda value: swap(lambda: model(**inputs), value)[0].logits, x * real, real)
    finally:
        model.train(training)


def _tables(encoder: nn.Module) -> list[nn.Module]:
    tables: list[nn.Module] = [module for module in encoder.modules() if isinstance(module, nn.Embedding)]
    if not tables:
        raise ValueError(
            f"{type(encoder).__name__} has no nn.Embedding, so its ids have no vectors to take a gradient "
            f"by; give the layer whose output is to be explained"
        )
    return tables


def _like(mask: Tensor, x: Tensor) -> Tensor:
    """A mask ``(B, T)`` that broadcasts over ``(B, T, ...)``; all ones where x has other tokens."""
    if mask.shape != x.shape[:2]:
        return torch.ones_like(x)
    return mask.reshape(*mask.shape, *[1] * (x.dim() - 2)).to(x.dtype)


@contextmanager
def _replaced(
    layers: list[nn.Module], shape: torch.Size | None
) -> Iterator[Callable[..., tuple[Any, Tensor | Modality]]]:
    """Run with another output of the first of the layers to be called (with an input of this shape)."""
    given: Tensor | None = None
    seen: list[Tensor | Modality] = []

    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        if seen or (shape is not None and inputs[0].shape != shape):
            return None  # leaves the output as it is
        seen.append(Modality(*output) if isinstance(output, tuple) else output)
        if given is None:
            return None
        return Modality(given, output[1]) if isinstance(output, tuple) else given

    def swap(run: Callable[[], Any], value: Tensor | None) -> tuple[Any, Tensor | Modality]:
        nonlocal given
        given = value
        seen.clear()
        with torch.set_grad_enabled(value is not None):
            output = run()
        if not seen:
            raise ValueError("the layer to be explained did not run; give one of this modality's encoder")
        return output, seen[0]

    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        yield swap
    finally:
        for handle in handles:
            handle.remove()
