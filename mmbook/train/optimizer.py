"""The optimiser: which parameters decay, and which have options of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
}
GROUP_OPTIONS = ("lr", "weight_decay")


def build_optimizer(
    parameters: Iterable[nn.Parameter] | Iterable[tuple[str, nn.Parameter]],
    name: str,
    lr: float,
    weight_decay: float,
    groups: Mapping[str, Mapping[str, float]] | None = None,
    betas: Sequence[float] = (0.9, 0.999),
) -> torch.optim.Optimizer:
    """An optimiser over the parameters that are trained; only matrices decay.

    Biases and the gains of norms are vectors: pulling them to zero would change what the layer does, not how
    complicated it is. The step is torch's fused one, which goes over each parameter once and not once for
    every operation.

    Args:
        parameters: as `model.parameters()` or, where there are groups, `model.named_parameters()` gives them.
        name: "adamw", "adam" or "sgd" (momentum 0.9).
        lr, weight_decay: of every parameter that is in no group.
        groups: start of a parameter's name, up to a dot -> its "lr" and "weight_decay"; the longest that
            fits counts.
        betas: shares of Adam's two running means that stay a step; unused by sgd.

    Raises:
        ValueError: an unknown name, nothing to train, a group that no parameter is in, or an unknown option.
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"unknown optimizer {name!r}; choose one of {', '.join(OPTIMIZERS)}")
    named = [item if isinstance(item, tuple) else ("", item) for item in parameters]
    trained = {key: p for key, p in named if p.requires_grad} if groups else {}
    everything = [p for _, p in named if p.requires_grad]
    if not everything:
        raise ValueError(
            "no parameter has requires_grad=True; unfreeze some part of the model before training it"
        )
    own: dict[str, list[nn.Parameter]] = {start: [] for start in groups or {}}
    for key, parameter in trained.items():
        starts = [start for start in own if key == start or key.startswith(f"{start}.")]
        if starts:
            own[max(starts, key=len)].append(parameter)
    taken = {id(p) for members in own.values() for p in members}
    usual = {"lr": lr, "weight_decay": weight_decay}
    made = _split([p for p in everything if id(p) not in taken], usual)
    for start, members in own.items():
        options = dict((groups or {})[start])
        if unknown := set(options) - set(GROUP_OPTIONS):
            raise ValueError(f"group {start!r} has {sorted(unknown)}; it takes {', '.join(GROUP_OPTIONS)}")
        if not members:
            tops = sorted({key.partition(".")[0] for key in trained})
            raise ValueError(f"no trained parameter's name starts with {start!r}; they start with {tops}")
        made += _split(members, usual | options)
    special: dict[str, Any] = {"momentum": 0.9} if name == "sgd" else {"betas": tuple(betas)}
    make: Any = OPTIMIZERS[name]
    return make(made, lr=lr, fused=all(p.is_floating_point() for p in everything), **special)


def _split(parameters: list[nn.Parameter], options: dict[str, float]) -> list[dict[str, Any]]:
    """Matrices with `options`, and vectors with the same but no decay; none that is empty.

    The peak of the learning rate stays beside it, as torch's own schedulers keep it.
    """
    options = options | {"initial_lr": options["lr"]}
    matrices = {"params": [p for p in parameters if p.dim() >= 2], **options}
    vectors = {"params": [p for p in parameters if p.dim() < 2], **options, "weight_decay": 0.0}
    return [group for group in (matrices, vectors) if group["params"]]
