"""The four layers put together, data -> encoders -> fusion -> head, as a model that any loop can train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils import ModelOutput

from mmbook.heads import Classification
from mmbook.modality import collate, group
from mmbook.models.saving import SavedModel


@dataclass
class MultimodalOutput(ModelOutput):
    """What a forward pass returns.

    Attributes:
        loss: scalar, or None without labels.
        logits: the head's answer, ``(B, num_classes)`` or ``(B, num_targets)``.
        attentions: name -> ``(B, T)``, where the fusion has weights.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    attentions: dict[str, Tensor] | None = None


class MultimodalModel(nn.Module, SavedModel, library_name="mmbook", tags=["multimodal"]):
    """Encoders, a fusion and a head; saved and loaded as `mmbook.models.saving` says.

    Args:
        encoders: name -> encoder; each maps `Modality` to `Modality` and has ``out_dim``.
        fusion: maps ``{name: Modality}`` to ``(B, out_dim)``; made for the same names. If it has a method
            ``auxiliary_loss(features, labels) -> scalar`` (as `mmbook.fusion.Aligned`), that is added to the
            loss in training; the loss in evaluation stays the task's alone.
        head: maps ``(B, out_dim)`` and labels to logits and a loss.
        preprocess: name -> processor from one raw item (a string, a picture, a sound) to a tensor; `predict`
            needs it.
        classes: names of the classes, in the order of the logits; `predict` reports them.

    Raises:
        ValueError: encoders and fusion that do not fit each other.
    """

    # Our loss is a mean over the batch that ignores `num_items_in_batch`. Without this line
    # transformers.Trainer, seeing **kwargs in forward, would take it for one that does not, and gradients
    # under accumulation would be off.
    accepts_loss_kwargs = False

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
        made_for: Any = fusion.dims  # to a type checker every attribute of a module is a tensor or a module
        if dict(made_for) != dims:
            raise ValueError(f"the fusion was made for {dict(made_for)}, but the encoders give {dims}")
        self.encoders = nn.ModuleDict(dict(encoders))
        self.fusion, self.head = fusion, head
        self.preprocess, self.classes = dict(preprocess or {}), list(classes or [])

    def forward(self, labels: Tensor | None = None, **batch: Any) -> MultimodalOutput:
        """Run the four layers on a flat batch (see `mmbook.modality`).

        Raises:
            ValueError: a key in the batch that the model does not know, or no modality at all.
        """
        features = {n: self.encoders[n](m) for n, m in group(batch, list(self.encoders)).items()}
        fused, weights = self.fusion(features, return_weights=True)
        logits, loss = self.head(fused, labels)
        auxiliary: Any = getattr(self.fusion, "auxiliary_loss", None)
        if self.training and loss is not None and auxiliary is not None:
            loss = loss + auxiliary(features, labels)
        return MultimodalOutput(loss=loss, logits=logits, attentions=weights or None)

    @torch.no_grad()
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
        training, device = self.training, next(self.parameters()).device
        self.eval()
        answers = []
        for start in range(0, len(rows), batch_size):
            chunk = rows[start : start + batch_size]
            ready = [
                {n: None if x is None else self.preprocess[n](x) for n, x in row.items()} for row in chunk
            ]
            output = self(**{key: value.to(device) for key, value in collate(ready).items()})
            answers += [self._answer(output, i) for i in range(len(chunk))]
        self.train(training)
        return answers

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
