"""The contracts between the layers, for type checkers and for readers: what a part must have to be used.

A class of yours needs no base class of ours. If it has what stands here, and is a `torch.nn.Module` where it
has weights, the rest of the package takes it. ``isinstance(part, Encoder)`` asks whether the names are there;
what they must do is tested for ours by ``tests/test_encoders.py`` and ``tests/test_fusion_contract.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, overload, runtime_checkable

from torch import Tensor

from mmbook.modality import Modality

if TYPE_CHECKING:
    from mmbook.heads import HeadOutput


@runtime_checkable
class Encoder(Protocol):
    """One modality's raw values in, its features out."""

    @property
    def out_dim(self) -> int:
        """D, the width of the features."""
        ...

    def __call__(self, modality: Modality, /) -> Modality:
        """Features of a batch.

        Args:
            modality: values ``(B, T, ...)`` as `mmbook.Modality` lists them, mask ``(B, T)``. What lies under
                the mask is never read.

        Returns:
            Values ``(B, T', D)``, zero where the mask ``(B, T')`` is False. A row that lacks the modality is
            all zeros under a mask of False.
        """
        ...


@runtime_checkable
class Fusion(Protocol):
    """Features of several modalities in, one vector a sample out."""

    @property
    def dims(self) -> Mapping[str, int]:
        """Name -> width of that modality's features: those it was made for."""
        ...

    @property
    def out_dim(self) -> int:
        """Width of the fused vector."""
        ...

    @overload
    def __call__(
        self, inputs: Mapping[str, Modality], /, return_weights: Literal[False] = False
    ) -> Tensor: ...
    @overload
    def __call__(
        self, inputs: Mapping[str, Modality], /, return_weights: Literal[True]
    ) -> tuple[Tensor, dict[str, Tensor]]: ...
    @overload
    def __call__(self, inputs: Mapping[str, Modality], /, return_weights: bool) -> Any: ...
    def __call__(self, inputs: Mapping[str, Modality], /, return_weights: bool = False) -> Any:
        """The fused vectors of a batch.

        Args:
            inputs: name -> features ``(B, T, D)``, T of its own for each. Any name of `dims` may be absent.
            return_weights: give the method's weights, too.

        Returns:
            ``(B, out_dim)``, or that and ``{name: (B, T)}``, the weight of each token, summing to one over
            all that a row has; ``{}`` from a method without weights.
        """
        ...


@runtime_checkable
class Head(Protocol):
    """One vector a sample in, an answer and, given labels, a loss out."""

    def __call__(self, fused: Tensor, labels: Tensor | None = None, /) -> HeadOutput:
        """Logits of a batch.

        Args:
            fused: ``(B, D)``.
            labels: ``(B, ...)`` as the head's class says; None for no loss.

        Returns:
            `mmbook.heads.HeadOutput`, with logits ``(B, ...)`` and, given labels, a sum and a count.
        """
        ...

    def num_items(self, labels: Tensor, /) -> int | Tensor:
        """What the loss is a mean over, known before the answer is: samples, say, or numbers."""
        ...


@runtime_checkable
class Processor(Protocol):
    """One raw item in, one tensor for a row of a dataset out."""

    @property
    def config(self) -> dict[str, Any]:
        """JSON from which `mmbook.registry.build` makes it again, so that a saved model brings its own."""
        ...

    def __call__(self, item: Any, /) -> Tensor:
        """The item as a tensor ``(T, ...)``, T at least 1: a string, a file, a picture, a sound or a film.

        Raises:
            ValueError: what it cannot read; it says what it can.
        """
        ...
