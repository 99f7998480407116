"""BERT's weights under the names of transformers, and under ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

# What transformers calls a thing, and what it is called here.
_NAMES = {
    "embeddings.word_embeddings.": "words.",
    "embeddings.position_embeddings.": "positions.",
    "embeddings.token_type_embeddings.": "segments.",
    "embeddings.LayerNorm.": "norm.",
    "encoder.layer.": "blocks.",
    "attention.output.dense.": "attention.out.",
    "attention.output.LayerNorm.": "attention_norm.",
    "intermediate.dense.": "expand.",
    "output.dense.": "contract.",
    "output.LayerNorm.": "norm.",
}
_NOT_IN_AN_ENCODER = ("pooler.dense.weight", "pooler.dense.bias", "embeddings.position_ids")


def from_transformers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a ``transformers.BertModel`` (weights or gradients) under our names; Q, K, V joined in
    one.

    A name that is not known keeps its own, so that a strict load reports it.
    """
    ours: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if name in _NOT_IN_AN_ENCODER or re.search(r"attention\.self\.(key|value)\.", name):
            continue
        if "attention.self.query." in name:
            tensor = torch.cat([weights[name.replace("query", part)] for part in ("query", "key", "value")])
            name = name.replace("attention.self.query.", "attention.qkv.")
        for theirs, short in _NAMES.items():
            name = name.replace(theirs, short)
        ours[name] = tensor
    return ours
