"""Why a model answered so: saliency, attribution to modalities, attention maps, the errors themselves."""

from mmbook.explain.attention_maps import attention_weights, rollout
from mmbook.explain.attribution import Attribution, attribute, shapley
from mmbook.explain.saliency import (
    IncompleteMap,
    by_pixel,
    by_token,
    gradient_x_input,
    integrated_gradients,
    smooth_grad,
)

__all__ = [
    "Attribution", "IncompleteMap", "attention_weights", "attribute", "by_pixel", "by_token",
    "gradient_x_input", "integrated_gradients", "rollout", "shapley", "smooth_grad",
]  # fmt: skip
