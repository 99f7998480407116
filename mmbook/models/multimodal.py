"""The four layers put together, data -> encoders -> fusion -> head, as a model that any loop can train."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers.utils import ModelOutput

from mmbook.heads import Classification, Regression, per_item
from mmbook.modality import Modality, group
from mmbook.models.raw_rows import RawRows
from mmbook.models.saving import SavedModel
from mmbook.protocols import Encoder, Fusion, Head


@dataclass
class MultimodalOutput(ModelOutput):
    """What a forward pass returns.

    Attributes:
        loss: scalar, or None without labels.
        logits: the head's answer, ``(B, num_classes)`` or ``(B, num_targets)``.
        attentions: name -> ``(B, T)``, where the fusion has weights.
        embeddings: in training, of a model whose samples are compared with each other: what its ``contrast``
            needs of each of them, name -> ``(B, ...)``.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    attentions: dict[str, Tensor] | None = None
    embeddings: dict[str, Tensor] | None = None


class MultimodalModel(nn.Module, RawRows, SavedModel, library_name="mmbook", tags=["multimodal"]):
    """Encoders, a fusion and a head; saved and loaded as `mmbook.models.saving` says.

    Args:
        encoders: name -> encoder; each maps `Modality` to `Modality` and has ``out_dim``.
        fusion: maps ``{name: Modality}`` to ``(B, out_dim)``; made for the same names. One that compares
            samples with each other (as `mmbook.fusion.Aligned`) has methods ``embeddings`` and ``contrast``;
            its loss is added in training, and the loss in evaluation stays the task's alone.
        head: maps ``(B, out_dim)`` and labels to logits and a loss, as a sum and a count.
        preprocess: name -> processor from one raw item (a string, a picture, a sound) to a tensor; `predict`
            needs it.
        classes: names of the classes, in the order of the logits; `predict` reports them.

    Raises:
        ValueError: encoders and fusion that do not fit each other.
    """

    fusion: Fusion
    head: Head

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        fusion: Fusion,
        head: Head,
        *,
        preprocess: Mapping[str, Any] | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        dims = {name: encoder.out_dim for name, encoder in encoders.items()}
        self.encoders = nn.ModuleDict(encoders)  # type: ignore[arg-type]  # modules, as what has weights is
        self.fusion, self.head = fusion, head
        if dict(self.fusion.dims) != dims:
            raise ValueError(
                f"the fusion was made for {dict(self.fusion.dims)}, but the encoders give {dims}"
            )
        self.preprocess, self.classes = dict(preprocess or {}), list(classes or [])

    def forward(
        self, labels: Tensor | None = None, num_items_in_batch: int | Tensor | None = None, **batch: Any
    ) -> MultimodalOutput:
        """Run the four layers on a flat batch (see `mmbook.modality`).

        Args:
            labels: as the head takes them; without them there is no loss.
            num_items_in_batch: for a part of a larger batch: the loss is then this part's sum divided by it,
                without what `contrast` adds over the whole batch. None: the mean over this batch.

        Raises:
            ValueError: a key in the batch that the model does not know, or no modality at all.
        """
        return self.answer(self.features(batch), labels, num_items_in_batch)

    def features(self, batch: Mapping[str, Any]) -> dict[str, Modality]:
        """What each encoder makes of its modality."""
        return {n: self.encoders[n](m) for n, m in group(batch, list(self.encoders)).items()}

    def answer(
        self,
        features: Mapping[str, Modality],
        labels: Tensor | None = None,
        num_items_in_batch: int | Tensor | None = None,
    ) -> MultimodalOutput:
        """Fusion and head on the encoders' features, with the loss; arguments as in `forward`."""
        fused, weights = self.fusion(features, return_weights=True)
        found = self.head(fused, labels)
        if labels is None:
            return MultimodalOutput(logits=found.logits, attentions=weights or None)
        if found.total is None or found.num_items is None:
            raise ValueError(
                f"{type(self.head).__name__} gives a loss and not what it is over; return HeadOutput(logits, "
                f"total, num_items)"
            )
        embeddings = None
        loss = per_item(found.total, found.num_items if num_items_in_batch is None else num_items_in_batch)
        if self.training and self.contrast is not None:
            embeddings = self.fusion.embeddings(features)  # type: ignore[attr-defined]  # of what contrasts
            loss = loss + self.contrast(embeddings) if num_items_in_batch is None else loss
        return MultimodalOutput(loss, found.logits, weights or None, embeddings)

    def num_items(self, labels: Tensor | None = None, **batch: Any) -> int | Tensor:
        """What the loss of a batch is a mean over; counts of parts add up to that of the whole."""
        return 0 if labels is None else self.head.num_items(labels)

    @property
    def accepts_loss_kwargs(self) -> bool:
        """For transformers.Trainer: whether the number of labels, which it gives, is what the loss is over.

        Where it is not, transformers takes the mean of each part, and weighs parts equally.
        """
        return isinstance(self.head, Classification | Regression)

    @property
    def contrast(self) -> Callable[[Mapping[str, Tensor]], Tensor] | None:
        """The loss between samples, from the embeddings of all of them; None where the fusion has none."""
        return getattr(self.fusion, "contrast", None)
