"""Missing modalities, for any fusion: fill the gap, and drop modalities at random in training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mmbook.fusion.inputs import complete
from mmbook.modality import Modality
from mmbook.protocols import Fusion
from mmbook.registry import register

FILLINGS = (None, "zeros", "mean", "learned")


@register
class Missing(nn.Module):
    """A fusion with missing modalities filled in, and with modality dropout in training.

    Args:
        fusion: any of ``mmbook.fusion.FUSIONS``; its output is passed on unchanged.
        missing: what stands in the gap, as one real token. ``"zeros"``: a vector of zeros. ``"mean"``: the
            mean of that modality over the training rows that have it, kept as a buffer: exactly the mean of
            the batches' means for the first hundred batches, an exponential mean after that. ``"learned"``: a
            parameter. None: nothing; the fusion's own masks leave the gap out.
        modality_dropout: in training, each present modality of each row is left out with this probability,
            but never all of a row: of a row that would lose everything, one that it has stays, each equally
            likely.

    Raises:
        ValueError: another value of `missing`, a probability outside [0, 1), or a fusion with a loss of its
            own (`Aligned` goes around `Missing`).

    Source: modality dropout, Neverova et al. (2016), *ModDrop*, https://arxiv.org/abs/1501.00102.
    """

    means: Tensor
    batches: Tensor

    def __init__(self, fusion: Fusion, missing: str | None = None, modality_dropout: float = 0.0) -> None:
        super().__init__()
        if missing not in FILLINGS:
            raise ValueError(f"missing is {missing!r}; choose one of {', '.join(map(str, FILLINGS))}")
        if not 0 <= modality_dropout < 1:
            raise ValueError(f"modality_dropout is {modality_dropout}; it must be from 0 to below 1")
        if hasattr(fusion, "auxiliary_loss"):
            raise ValueError(
                f"{type(fusion).__name__} adds a loss, which Missing would hide; put Missing inside of it"
            )
        self.fusion, self.missing, self.modality_dropout = fusion, missing, modality_dropout
        self.dims, self.out_dim = dict(fusion.dims), fusion.out_dim
        if missing == "learned":
            self.fillers = nn.ParameterDict(
                {name: nn.Parameter(torch.randn(dim)) for name, dim in self.dims.items()}
            )
        elif missing == "mean":
            self.register_buffer("means", torch.zeros(sum(self.dims.values())))
            self.register_buffer("batches", torch.zeros(len(self.dims)))  # in which the modality occurred

    def forward(self, inputs: Mapping[str, Modality], return_weights: bool = False) -> Any:
        """Fuse features ``{name: (B, T, D)}`` to ``(B, out_dim)``; weights as the fusion's.

        With something in the gap, the weights count it: its share is in the first place of the row.
        """
        seen = self.seen(inputs) if self.training and self.modality_dropout else complete(inputs, self.dims)
        if self.missing is None:
            return self.fusion(seen, return_weights)
        filled = self.filled(seen)
        if self.missing == "mean" and self.training:
            self._follow(inputs)  # after it was used, or a row would depend on its neighbours
        return self.fusion(filled, return_weights)

    def seen(self, inputs: Mapping[str, Modality]) -> dict[str, Modality]:
        """The modalities with each row's dropped ones masked out."""
        whole = complete(inputs, self.dims)
        real = torch.stack([m.mask.any(dim=1) for m in whole.values()], dim=1)  # (B, M)
        luck = torch.rand(real.shape, device=real.device).masked_fill(~real, -1)
        kept = (luck >= self.modality_dropout) | (luck == luck.amax(dim=1, keepdim=True))
        return {
            name: Modality(m.values, m.mask & keep[:, None])
            for (name, m), keep in zip(whole.items(), kept.unbind(dim=1), strict=True)
        }

    def filled(self, inputs: Mapping[str, Modality]) -> dict[str, Modality]:
        """The modalities with one real token, the filler, where a row has none."""
        fillers = self._fillers()
        full = {}
        for name, (values, mask) in complete(inputs, self.dims).items():
            gap = ~mask.any(dim=1)  # (B,)
            first = torch.zeros_like(mask)
            first[:, 0] = True
            filler = values.new_zeros(()) if fillers is None else fillers[name].to(values.dtype)
            full[name] = Modality(
                torch.where(gap[:, None, None], filler, values), mask | first & gap[:, None]
            )
        return full

    def _fillers(self) -> dict[str, Tensor] | None:
        if self.missing == "learned":
            return dict(self.fillers.items())  # type: ignore[arg-type]
        if self.missing == "mean":
            parts = self.means.split(list(self.dims.values()))
            return {name: part.clone() for name, part in zip(self.dims, parts, strict=True)}
        return None

    @torch.no_grad()
    def _follow(self, inputs: Mapping[str, Modality]) -> None:
        """Move the running means towards this batch's, modality by modality, where the batch has it."""
        new, occurs = [], []
        for modality in complete(inputs, self.dims).values():
            there = modality.mask.any(dim=1)
            new.append(modality.pooled().sum(dim=0).float() / there.sum().clamp(min=1))  # (D,)
            occurs.append(there.any())
        here = torch.stack(occurs).to(self.batches.dtype)  # (M,)
        self.batches += here
        rate = here * (1 / self.batches.clamp(min=1)).clamp(min=0.01)
        rates = [r.expand(dim) for r, dim in zip(rate, self.dims.values(), strict=True)]
        self.means += torch.cat(rates) * (torch.cat(new) - self.means)
