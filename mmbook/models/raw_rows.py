"""A model asked about raw text, pictures and sounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mmbook.answers import answers
from mmbook.heads import Classification
from mmbook.modality import collate
from mmbook.protocols import Head


class RawRows:
    """`predict` for `mmbook.models.MultimodalModel`."""

    # of the model that this is mixed into
    head: Head
    preprocess: dict[str, Any]
    classes: list[str]

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
        model: Any = self
        found = answers(model, batches, lambda output, _: self._answers(output))
        return [answer for each in found for answer in each]

    def _read(self, row: Mapping[str, Any]) -> dict[str, Tensor | None]:
        return {name: None if item is None else self.preprocess[name](item) for name, item in row.items()}

    def _answers(self, output: Any) -> list[dict[str, Any]]:
        assert output.logits is not None
        return [self._answer(output, i) for i in range(len(output.logits))]

    def _answer(self, output: Any, i: int) -> dict[str, Any]:
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
