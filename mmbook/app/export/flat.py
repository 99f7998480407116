"""What is exported: a flat batch of tensors by name in, logits out; and random batches to try it on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmbook.modality import Modality, group


class Flat(nn.Module):
    """A function of a flat batch as a module whose ``forward`` takes the inputs by their names.

    The names of the arguments become those of the exported file's inputs, so each instance has a signature of
    its own.

    Args:
        parts: the modules that `function` uses, so that their weights are exported.
        function: flat batch -> tensors.
        names: of the inputs, in order: ``["text", "text_mask", ...]``.
    """

    def __init__(self, parts: nn.Module, function: Callable[..., Any], names: Sequence[str]) -> None:
        super().__init__()
        self.parts = parts

        def forward(**batch: Tensor) -> Any:
            return function(**batch)

        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        forward.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [inspect.Parameter(name, kind) for name in names]
        )
        self.forward = forward


def whole(model: nn.Module, names: Sequence[str]) -> Flat:
    """The model, up to the logits."""
    return Flat(model, lambda **batch: model(**batch).logits, names)


def single(encoder: nn.Module, name: str) -> Flat:
    """One encoder alone: the mean of its tokens, and how many there are."""

    def tokens(**batch: Tensor) -> tuple[Tensor, Tensor]:
        encoded = encoder(group(batch, [name])[name])
        return encoded.pooled(), encoded.mask.sum(dim=1)

    return Flat(encoder, tokens, [name, f"{name}_mask"])


def complete_batch(batch: Mapping[str, Any], names: Sequence[str]) -> dict[str, Tensor]:
    """The batch with every modality of `names` and its mask, on the CPU, and nothing else.

    Raises:
        ValueError: a modality that the batch lacks, or of which no row has anything.
    """
    grouped = group(batch, names)
    for name in names:
        if name not in grouped or not grouped[name].mask.any():
            raise ValueError(
                f"the example batch has no {name!r}; it must hold each of {', '.join(names)} at least once, "
                f"since the exported file has an input for each"
            )
    flat: dict[str, Tensor] = {}
    for name, modality in grouped.items():
        values, mask = modality.cleaned()
        flat |= {name: values.cpu(), f"{name}_mask": mask.cpu()}
    return flat


def fresh_batch(
    example: Mapping[str, Tensor],
    size: int,
    lengths: Mapping[str, int],
    *,
    seed: int,
    padded: bool = False,
    missing: Sequence[str] = (),
) -> dict[str, Tensor]:
    """A random batch like `example`, of other sizes.

    Args:
        example: flat batch; ids are drawn from the range that it shows, floats with its mean and deviation.
        size: number of samples B.
        lengths: modality -> T.
        seed: of the random numbers.
        padded: give the samples random lengths from 1 to T.
        missing: modalities that the first sample lacks.
    """
    g = torch.Generator().manual_seed(seed)
    batch: dict[str, Tensor] = {}
    for name, length in lengths.items():
        values, mask = example[name], example[f"{name}_mask"]
        shape, real = (size, length, *values.shape[2:]), values[mask]
        if values.is_floating_point():
            drawn = (torch.randn(shape, generator=g) * real.std(correction=0) + real.mean()).to(values.dtype)
        else:
            drawn = torch.randint(int(real.min()), int(real.max()) + 1, shape, generator=g).to(values.dtype)
        steps = torch.randint(1, length + 1, (size, 1), generator=g) if padded else torch.tensor(length)
        keep = (torch.arange(length) < steps).expand(size, length).clone()
        if name in missing:
            keep[0] = False
        batch |= {name: Modality(drawn, keep).cleaned().values, f"{name}_mask": keep}
    return batch
