"""Which pixels, moments or words did the answer depend on? Gradients of one logit by the input.

For values that are numbers, the gradient is by the values. Ids have none: there it is by the word vectors
that the encoder's table gives. A map is ``(B, T, ...)`` like what it explains; `by_token` and `by_pixel` sum
it up.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from mmbook.answers import BESIDE, evaluating, logits_of
from mmbook.modality import Modality


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
    model: nn.Module, batch: Mapping[str, Tensor], name: str, layer: nn.Module | None = None
) -> Iterator[Explained]:
    """Within the context the model is in evaluation mode, and its logits depend on what is asked about.

    Args:
        model: any that takes such a batch and gives ``.logits`` or logits ``(B, C)``.
        batch: as `collate` makes it.
        name: of a modality.
        layer: explain the output of this module of the encoder, a tensor or a `Modality`, such as the log-mel
            frames of a `MelCNN`; None for the input itself, and where that is ids, for their word vectors.

    Raises:
        ValueError: a modality that batch or model do not have; a layer that does not run; ids that are looked
            up in no table.
    """
    encoders: Any = getattr(model, "encoders", {name: model})
    if name not in encoders or batch.get(name) is None:
        raise ValueError(
            f"no modality {name!r} to explain; the model has {', '.join(encoders)}, the batch "
            f"{', '.join(batch)}"
        )
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    inputs: dict[str, Any] = {k: v.to(device) for k, v in batch.items() if k not in BESIDE}
    values = inputs[name]
    mask = inputs.setdefault(f"{name}_mask", torch.ones(values.shape[:2], dtype=torch.bool, device=device))
    with evaluating(model), torch.enable_grad():
        if layer is None and values.is_floating_point():
            x = Modality(values, mask).cleaned().values
            yield Explained(lambda value: logits_of(model(**inputs | {name: value})), x, _like(mask, x))
        else:
            encoder = encoders[name]
            with _replaced([layer] if layer else _tables(encoder), None if layer else values.shape) as swap:
                found = swap(lambda: model(**inputs), None)[1]
                x, inner = found if isinstance(found, Modality) else Modality(found, mask)
                real = _like(inner, x)
                run: Any = lambda value: logits_of(swap(lambda: model(**inputs), value)[0])  # noqa: E731
                yield Explained(run, x * real, real)


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


# A map-making method, such as `gradient_x_input`: (model, batch, name, ...) -> (B, T, ...)
Explain = Callable[..., Tensor]
GAP = 0.05  # of the largest difference


class IncompleteMap(UserWarning):
    """Integrated gradients that do not sum to the difference of the logits, for want of steps."""


def gradient_x_input(
    model: nn.Module,
    batch: Mapping[str, Tensor],
    name: str,
    target: int | Tensor | None = None,
    *,
    layer: nn.Module | None = None,
) -> Tensor:
    """Gradient of a logit, times the input: what a linear model would credit to each number.

    Args:
        model: run in evaluation mode.
        batch: as `collate` makes it.
        name: of the modality to explain.
        target: the class, one for all or ``(B,)``; None: what the model predicts.
        layer: a module of the encoder whose output is explained in the place of the input, such as
            ``model.encoders["audio"].mel`` for a spectrogram.

    Returns:
        ``(B, T, ...)`` as the values, for ids ``(B, T, D)`` as their vectors; zero where the mask is False.

    Raises:
        ValueError: a modality that the batch or the model does not have, a target that is no logit, ids
            without a table of vectors, or a layer that does not run.

    Source: Shrikumar et al. (2016), https://arxiv.org/abs/1605.01713.
    """
    with explained(model, batch, name, layer) as what:
        return gradient(what, what.x, _target(what, target)) * what.x


def integrated_gradients(
    model: nn.Module,
    batch: Mapping[str, Tensor],
    name: str,
    target: int | Tensor | None = None,
    *,
    baseline: Tensor | float = 0.0,
    steps: int = 32,
    layer: nn.Module | None = None,
) -> Tensor:
    """The gradient averaged along the straight line from a baseline, times the way: it adds up.

    The sum over a row is the logit at the input minus the logit at the baseline (completeness), up to the
    error of the quadrature (Gauss and Legendre's, exact for a smooth path with few steps). An
    `IncompleteMap` warning says where it is not: a network with norms jumps next to a picture of one colour,
    since norms undo the scale; take another baseline there, or more steps.

    Args:
        model, batch, name, target, layer: as in `gradient_x_input`; the target is what is predicted at the
            input.
        baseline: what stands for "nothing there", a number or values like those explained. 0 is the mean
            colour of a standardised picture, silence in a waveform, and a word vector of zeros.
        steps: points on the line, each a forward and a backward pass.

    Raises:
        ValueError: as `gradient_x_input`, and fewer than one step.

    Source: Sundararajan, Taly and Yan (2017), https://arxiv.org/abs/1703.01365.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; it must be at least 1")
    points, weights = np.polynomial.legendre.leggauss(steps)  # on [-1, 1]
    with explained(model, batch, name, layer) as what:
        wanted = _target(what, target)
        way = (what.x - torch.as_tensor(baseline).to(what.x)) * what.real
        total = torch.zeros_like(what.x)
        for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
            total += float(weight) * gradient(what, what.x - (1 - float(point)) * way, wanted)
        found = total * way
        _check_complete(what, found, way, wanted)
        return found


def smooth_grad(
    model: nn.Module,
    batch: Mapping[str, Tensor],
    name: str,
    target: int | Tensor | None = None,
    *,
    noise: float = 0.15,
    samples: int = 16,
    seed: int = 0,
    layer: nn.Module | None = None,
) -> Tensor:
    """`gradient_x_input` with the gradient averaged over noisy copies of the input: less speckled.

    Args:
        model, batch, name, target, layer: as in `gradient_x_input`.
        noise: its deviation, as a share of the range of each row's values.
        samples: copies.
        seed: of the noise.

    Raises:
        ValueError: as `gradient_x_input`, and fewer than one sample.

    Source: Smilkov et al. (2017), https://arxiv.org/abs/1706.03825.
    """
    if samples < 1:
        raise ValueError(f"samples is {samples}; it must be at least 1")
    random = torch.Generator().manual_seed(seed)
    with explained(model, batch, name, layer) as what:
        wanted, flat = _target(what, target), what.x.flatten(1)
        span = (flat.amax(dim=1) - flat.amin(dim=1)).reshape(-1, *[1] * (what.x.dim() - 1))
        total = torch.zeros_like(what.x)
        for _ in range(samples):
            drawn = torch.randn(what.x.shape, generator=random).to(what.x)
            total += gradient(what, what.x + noise * span * drawn * what.real, wanted)
        return total / samples * what.x


def by_token(found: Tensor) -> Tensor:
    """A map ``(B, T, ...)`` as one number a token or sample: ``(B, T)``."""
    return found.flatten(2).sum(dim=2) if found.dim() > 2 else found


def by_pixel(found: Tensor) -> Tensor:
    """A map of pictures ``(B, T, 3, H, W)`` as one number a pixel: ``(B, T, H, W)``."""
    return found.sum(dim=2)


def gradient(what: Explained, at: Tensor, target: Tensor) -> Tensor:
    """Of each row's own logit, zero where nothing is real.

    Rows do not depend on each other, so one backward pass of their sum serves all.
    """
    point = at.detach().requires_grad_()
    with torch.enable_grad():
        chosen = what.logits(point).gather(1, target[:, None]).sum()
        return (torch.autograd.grad(chosen, point)[0] * what.real).detach()


def _check_complete(what: Explained, found: Tensor, way: Tensor, target: Tensor) -> None:
    with torch.no_grad():
        there, nowhere = (what.logits(x).gather(1, target[:, None])[:, 0] for x in (what.x, what.x - way))
    gap, size = (found.flatten(1).sum(dim=1) - (there - nowhere)).abs().max(), (there - nowhere).abs().max()
    if gap > GAP * size + 1e-3:
        warnings.warn(
            f"the map's sums are up to {gap:.3g} away from the differences of the logits, which are up to "
            f"{size:.3g}; take more steps, or another baseline",
            IncompleteMap,
            stacklevel=3,
        )


def _target(what: Explained, target: int | Tensor | None) -> Tensor:
    with torch.no_grad():
        logits = what.logits(what.x)
    if target is None:
        return logits.argmax(dim=1)
    wanted = torch.as_tensor(target, device=logits.device).expand(len(logits))
    if int(wanted.min()) < 0 or int(wanted.max()) >= logits.shape[1]:
        raise ValueError(f"target is {target}; the model has logits 0 to {logits.shape[1] - 1}")
    return wanted
