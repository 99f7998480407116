"""A model's answers over batches: the one loop that evaluation, prediction on files and the trainer use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")
BESIDE = ("labels", "ids")  # what a batch has that is no modality


@contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """Evaluation mode, no gradients; afterwards, also after an error, each module has its own mode again."""
    modes = [(module, module.training) for model in models for module in model.modules()]
    for model in models:
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def answers(
    model: nn.Module,
    batches: Iterable[Mapping[str, Any]],
    keep: Callable[[Any, Mapping[str, Any]], T],
) -> list[T]:
    """What `keep` takes from the model's output for each batch; of a batch nothing else stays in memory.

    Args:
        model: a `mmbook.MultimodalModel`, or any module (see `ask`), on the device where it is.
        batches: flat dicts of tensors, with labels or without.
        keep: (output, batch) -> what is kept.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    with evaluating(model):
        return [keep(ask(model, _moved(batch, device)), batch) for batch in batches]


def ask(model: nn.Module, batch: Mapping[str, Any]) -> Any:
    """The output of a model for a flat batch, given what its ``forward`` takes.

    All of the batch where it takes any keyword; else the keys that are its arguments; and where it names no
    modality and the batch has only one, the values of that one.

    Raises:
        ValueError: a model that takes none of what the batch has.
    """
    arguments = inspect.signature(model.forward).parameters
    if any(argument.kind is argument.VAR_KEYWORD for argument in arguments.values()):
        return model(**batch)
    given = {key: value for key, value in batch.items() if key in arguments}
    names = [key for key in batch if key not in BESIDE and not key.endswith("_mask")]
    if set(names) & set(given):
        return model(**given)
    if len(names) == 1 and arguments:
        return model(batch[names[0]], **given)
    raise ValueError(
        f"forward of {type(model).__name__} takes {', '.join(arguments) or 'nothing'}, and the batch has "
        f"{', '.join(names)}; call its arguments as the modalities are called"
    )


def logits_of(output: Any) -> Tensor:
    """The logits in what a model returns: its ``.logits``, the first of a tuple, or the tensor itself.

    Raises:
        ValueError: there are none.
    """
    found = getattr(output, "logits", output[0] if isinstance(output, tuple) and output else output)
    if not isinstance(found, Tensor):
        raise ValueError(
            f"the model returned {type(output).__name__}; give a tensor, or an object with .logits"
        )
    return found


def _moved(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    return {key: value.to(device) if isinstance(value, Tensor) else value for key, value in batch.items()}
