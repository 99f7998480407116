"""A model on disk: ``config.json`` says how it was made, ``model.safetensors`` holds the weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import ModelCard, ModelHubMixin, hf_hub_download
from safetensors.torch import load_file, save_file
from torch import nn

# They register the classes that a saved config may name.
from mmbook import encoders as _encoders  # noqa: F401
from mmbook import fusion as _fusion  # noqa: F401
from mmbook import preprocess as _preprocess  # noqa: F401
from mmbook.models import detection as _detection  # noqa: F401
from mmbook.models import multitask as _multitask  # noqa: F401
from mmbook.protocols import Fusion, Head
from mmbook.registry import build, config_of

M = TypeVar("M", bound="SavedModel")

CONFIG, WEIGHTS = "config.json", "model.safetensors"
PARTS = ("encoders", "fusion", "head", "preprocess", "classes")  # keys of the config


class SavedModel(ModelHubMixin):
    """Saving and loading for `mmbook.models.MultimodalModel`, with the hub's methods.

    The hub's own way writes no config when the arguments are modules, and leaves out weights that it cannot
    rebuild; this one writes both or refuses, and never pickles.
    """

    # of the model that this is mixed into
    encoders: nn.ModuleDict
    fusion: Fusion
    head: Head
    preprocess: dict[str, Any]
    classes: list[str]

    def to_config(self) -> dict[str, Any]:
        """How the model was made, in JSON; `from_config` makes it again.

        A method and not an attribute called ``config``: transformers.Trainer writes settings into that one.

        Raises:
            ValueError: a part whose class could not come back; names it, and what to do.
        """
        return {
            "encoders": {name: config_of(encoder) for name, encoder in self.encoders.items()},
            "fusion": config_of(self.fusion),
            "head": config_of(self.head),
            "preprocess": {name: config_of(processor) for name, processor in self.preprocess.items()},
            "classes": self.classes,
        }

    @classmethod
    def from_config(cls: type[M], config: Mapping[str, Any], folder: str | Path | None = None) -> M:
        """A new model, with random weights, as `config` describes it.

        Args:
            config: of `to_config`.
            folder: where it came from, as `mmbook.registry.find_class` takes it.

        Raises:
            ValueError: a class that is not registered, or must be defined first.
        """
        parts = {key: build(config[key], folder) for key in PARTS}
        make: Any = cls  # its constructor is that of the class which this one is mixed into
        return make(**parts)

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write config, weights, and a card where there is none yet.

        Args:
            save_directory: made if need be.
            options: of `huggingface_hub.ModelHubMixin.save_pretrained`.

        Raises:
            ValueError: as `to_config`, before anything is written.
        """
        self.to_config()
        return super().save_pretrained(save_directory, **options)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Save to the Hugging Face hub, as `save_pretrained` does to a folder.

        Args:
            repo_id: ``"user/name"``.
            options: of `huggingface_hub.ModelHubMixin.push_to_hub`.

        Raises:
            ValueError: as `to_config`, before a repository is made.
        """
        self.to_config()
        return super().push_to_hub(repo_id, **options)

    def _save_pretrained(self, save_directory: Path) -> None:
        module: Any = self
        state = {key: value.detach().cpu().contiguous().clone() for key, value in module.state_dict().items()}
        part = save_directory / f".{WEIGHTS}.part"
        config = save_directory / CONFIG
        try:
            save_file(state, part, metadata={"format": "pt"})
            config.write_text(json.dumps(self.to_config(), indent=2) + "\n", encoding="utf-8")
            shutil.copymode(config, part)  # safetensors makes files that nobody else may read
            part.replace(save_directory / WEIGHTS)
        finally:
            part.unlink(missing_ok=True)

    @classmethod
    def _from_pretrained(cls: type[M], *, model_id: str, map_location: str = "cpu", **options: Any) -> M:
        config = {key: options.pop(key) for key in PARTS}
        local = Path(model_id) / WEIGHTS
        options = {
            k: v for k, v in options.items() if k in ("revision", "cache_dir", "force_download", "token")
        }
        file = local if local.is_file() else Path(hf_hub_download(model_id, WEIGHTS, **options))
        model: Any = cls.from_config(config, file.parent)
        model.load_state_dict(load_file(file, device=map_location), strict=True)
        return model.eval()

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """A card that says what the model is made of and how to load it."""
        parts: list[tuple[str, Any]] = [*self.encoders.items(), ("fusion", self.fusion), ("head", self.head)]
        rows = [
            f"| {name} | {part.config['type']} | {sum(p.numel() for p in part.parameters()):,} |"
            for name, part in parts
        ]
        return ModelCard(CARD.format(table="\n".join(rows), classes=", ".join(self.classes) or "not named"))


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
