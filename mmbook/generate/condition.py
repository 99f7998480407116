"""What a generator is given: some modalities, of which any may be missing, made one vector.

That is what a fusion does, so a fusion does it: a generator conditioned on speech or on text or on both is
one generator, and obeys the contract of fusions for whatever is missing.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from mmbook.fusion import build_fusion
from mmbook.generate.networks import SLOPE
from mmbook.modality import Modality
from mmbook.registry import register


@register
class Condition(nn.Module):
    """``{name: Modality (B, T, D)}`` to ``(B, width)``: a fusion and one hidden layer.

    Args:
        dims: name -> width D of what is given; empty for nothing, and then the result is ``(B, 0)``.
        width: of the result.
        fusion: a key of ``mmbook.fusion.FUSIONS``.
    """

    def __init__(
        self, dims: Mapping[str, int] | None = None, width: int = 32, fusion: str = "concat"
    ) -> None:
        super().__init__()
        self.dims, self.width = dict(dims or {}), width if dims else 0
        self.fusion = build_fusion(fusion, self.dims, width) if dims else None
        self.linear = nn.Linear(width, width) if dims else None

    def forward(self, given: Mapping[str, Modality], like: Tensor) -> Tensor:
        """`like` ``(B, ...)`` says how many rows, of which type and where, when nothing is given."""
        if self.fusion is None or self.linear is None:
            return like.new_zeros(len(like), 0)
        if not given:  # all modalities are missing in all rows
            name, dim = next(iter(self.dims.items()))
            nothing = like.new_zeros(len(like), 1, dim)
            given = {name: Modality(nothing, nothing[..., 0].bool())}
        return self.linear(F.leaky_relu(self.fusion(given), SLOPE))


def rows_of(given: Mapping[str, Modality], count: int | None) -> int:
    """How many samples to draw: one for each row of what is given, or `count` where nothing is.

    Raises:
        ValueError: nothing given and no count, or a count that is not the number of rows.
    """
    rows = {name: len(modality.mask) for name, modality in given.items()}
    if not rows and count is None:
        raise ValueError("nothing is given, so say how many samples to draw: count=...")
    wanted = count if count is not None else next(iter(rows.values()))
    if set(rows.values()) - {wanted}:
        raise ValueError(f"{wanted} samples are asked for, but the given rows are {rows}")
    return wanted
