"""Which tokens looked at which? The weights inside a Transformer encoder, and their product over the layers.

Our attention uses torch's fused kernel, which gives no weights back; they are computed again from what each
layer reads. For the weights by which a fusion mixes modalities, see ``output.attentions`` of the model.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmbook.answers import evaluating
from mmbook.encoders.bert import MultiHeadAttention
from mmbook.modality import Modality


def attention_weights(encoder: nn.Module, modality: Modality) -> list[Tensor]:
    """The weights of each layer, first to last: ``(N, heads, T, T)``, rows sum to one over what may be seen.

    Args:
        encoder: made of `mmbook.encoders.bert.MultiHeadAttention`: `Bert`, `ViT`, a token Transformer.
        modality: its input. N is the batch, for a `ViT` the frames of the batch, one after the other.

    Raises:
        ValueError: an encoder without such a layer.
    """
    layers = [module for module in encoder.modules() if isinstance(module, MultiHeadAttention)]
    if not layers:
        raise ValueError(
            f"{type(encoder).__name__} has no MultiHeadAttention layer; use saliency, or a fusion's weights"
        )
    found: list[Tensor] = []

    def hook(layer: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, attend = inputs[0], inputs[1] if len(inputs) > 1 else None
        q, k, _ = layer.qkv(x).unflatten(-1, (3, layer.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5  # (N, heads, T, T)
        scores = scores if attend is None else scores.masked_fill(~attend, -torch.inf)
        found.append(scores.softmax(dim=-1))

    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        with evaluating(encoder):
            encoder(modality)
    finally:
        for handle in handles:
            handle.remove()
    return found


def rollout(weights: list[Tensor]) -> Tensor:
    """How much of each output token comes from each input token, ``(N, T, T)``, if weights were all.

    Each layer's weights, averaged over the heads, are mixed half and half with the identity, for the branch
    around the attention, and multiplied over the layers; rows sum to one. What the layers do with
    the values is left out, so this is a picture of the mixing, not of the answer's reasons.

    Args:
        weights: as `attention_weights` gives them.

    Source: Abnar and Zuidema (2020), *Quantifying Attention Flow in Transformers*,
    https://aclanthology.org/2020.acl-main.385.
    """
    if not weights:
        raise ValueError("there are no weights; give those of at least one layer")
    eye = torch.eye(weights[0].shape[-1], device=weights[0].device)
    mixed = eye.expand(len(weights[0]), -1, -1)
    for layer in weights:
        mixed = (layer.mean(dim=1) + eye) / 2 @ mixed
    return mixed
