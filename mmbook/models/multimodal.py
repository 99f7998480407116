"""The four layers put together, data -> encoders -> fusion -> head, as a model that any loop can train."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelCard, ModelHubMixin, hf_hub_download
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.utils import ModelOutput

from mmbook import encoders as _encoders  # noqa: F401  (registers the classes that a saved config may name)
from mmbook import preprocess as _preprocess  # noqa: F401
from mmbook.heads import Classification
from mmbook.modality import collate, group
from mmbook.registry import build

WEIGHTS = "model.safetensors"


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


class MultimodalModel(nn.Module, ModelHubMixin, library_name="mmbook", tags=["multimodal"]):
    """Encoders, a fusion and a head.

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

    def to_config(self) -> dict[str, Any]:
        """How the model was made, in JSON; `from_config` makes it again.

        A method and not an attribute called ``config``: transformers.Trainer writes settings into that one.
        """
        return {
            "encoders": {name: encoder.config for name, encoder in self.encoders.items()},
            "fusion": self.fusion.config,
            "head": self.head.config,
            "preprocess": {name: processor.config for name, processor in self.preprocess.items()},
            "classes": self.classes,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> MultimodalModel:
        """A new model, with random weights, as `config` describes it."""
        parts = {key: build(value) for key, value in config.items()}
        return cls(
            parts["encoders"],
            parts["fusion"],
            parts["head"],
            preprocess=parts["preprocess"],
            classes=parts["classes"],
        )

    # The mixin's own saving writes no config when the arguments are modules, and leaves out weights it cannot
    # rebuild. These two replace it; `save_pretrained`, `from_pretrained` and `push_to_hub` stay the mixin's.
    def _save_pretrained(self, save_directory: Path) -> None:
        state = {key: value.detach().cpu().contiguous().clone() for key, value in self.state_dict().items()}
        save_file(state, save_directory / WEIGHTS, metadata={"format": "pt"})
        (save_directory / "config.json").write_text(
            json.dumps(self.to_config(), indent=2) + "\n", encoding="utf-8"
        )

    @classmethod
    def _from_pretrained(cls, *, model_id: str, map_location: str = "cpu", **options: Any) -> MultimodalModel:
        config = {key: options.pop(key) for key in ("encoders", "fusion", "head", "preprocess", "classes")}
        local = Path(model_id) / WEIGHTS
        options = {
            k: v for k, v in options.items() if k in ("revision", "cache_dir", "force_download", "token")
        }
        file = local if local.is_file() else hf_hub_download(model_id, WEIGHTS, **options)
        model = cls.from_config(config)
        model.load_state_dict(load_file(file, device=map_location), strict=True)
        return model.eval()

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """A card that says what the model is made of and how to load it."""
        parts = [*self.encoders.items(), ("fusion", self.fusion), ("head", self.head)]
        lines = [_row(name, part) for name, part in parts]
        return ModelCard(CARD.format(table="\n".join(lines), classes=", ".join(self.classes) or "not named"))


CARD = """---
library_name: mmbook
tags: [multimodal]
---
# A multimodal model made with mmbook

| part | class | parameters |
|---|---|---|
{table}

Classes: {classes}.

```python
from mmbook import MultimodalModel

model = MultimodalModel.from_pretrained("path/to/this/folder")
```
"""


def _row(name: str, part: Any) -> str:
    return f"| {name} | {part.config['type']} | {sum(p.numel() for p in part.parameters()):,} |"
