"""The four layers put together, data -> encoders -> fusion -> head, as a model that any loop can train."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers.utils import ModelOutput

from mmbook.answers import answers
from mmbook.heads import Classification, Regression, per_item
from mmbook.modality import Modality, collate, group
from mmbook.models.saving import SavedModel


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


class MultimodalModel(nn.Module, SavedModel, library_name="mmbook", tags=["multimodal"]):
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

    fusion: Any  # to a type checker every attribute of a module is else a tensor or a module
    head: Any

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        fusion: nn.Module,
        head: nn.Module,
        *,
        preprocess: Mapping[str, Any] | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        dims = {name: encoder.out_dim for name, encoder in encoders.items()}
        self.encoders = nn.ModuleDict(dict(encoders))
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
        embeddings = None
        loss = per_item(found.total, found.num_items if num_items_in_batch is None else num_items_in_batch)
        if self.training and self.contrast is not None:
            embeddings = self.fusion.embeddings(features)
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

    def predict(self, rows: Sequence[Mapping[str, Any]], batch_size: int = 32) -> list[dict[str, Any]]:
        """Answers for raw text, pictures and sounds.

        Args:
            rows: each ``{"text": "...", "image": path or PIL image, "audio": path or (samples, rate)}`` with
                the names of this model's encoders; a modality may be absent or None.
            batch_size: rows per forward pass.

        Returns:
            One dict a row: for classification ``{"label", "scores": {class: probability}}``, for regression
            ``{"values": [...]}``; with ``"weights": {name: total attention}`` where the fusion has them.

        Raises:
            ValueError: a name the model does not know, or one that it has no processor for.
        """
        for row in rows:
            for name in row:
                if name not in self.preprocess:
                    known = ", ".join(self.preprocess) or "none: give the model preprocess={...}"
                    raise ValueError(f"cannot read {name!r}; this model has processors for {known}")
        chunks = (rows[start : start + batch_size] for start in range(0, len(rows), batch_size))
        batches = (collate([self._read(row) for row in chunk]) for chunk in chunks)
        found = answers(self, batches, lambda output, _: self._answers(output))
        return [answer for each in found for answer in each]

    def _read(self, row: Mapping[str, Any]) -> dict[str, Tensor | None]:
        return {name: None if item is None else self.preprocess[name](item) for name, item in row.items()}

    def _answers(self, output: MultimodalOutput) -> list[dict[str, Any]]:
        assert output.logits is not None
        return [self._answer(output, i) for i in range(len(output.logits))]

    def _answer(self, output: MultimodalOutput, i: int) -> dict[str, Any]:
        assert output.logits is not None
        row = output.logits[i].float()
        answer: dict[str, Any]
        if isinstance(self.head, Classification):
            names = self.classes or [str(k) for k in range(len(row))]
            scores = dict(zip(names, row.softmax(dim=-1).tolist(), strict=True))
            answer = {"label": max(scores, key=scores.__getitem__), "scores": scores}
        else:
            answer = {"values": row.tolist()}
        if output.attentions:
            answer["weights"] = {name: float(w[i].sum()) for name, w in output.attentions.items()}
        return answer
