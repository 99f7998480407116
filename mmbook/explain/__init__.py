"""Why a model answered so: saliency, attribution to modalities, attention maps, the errors themselves."""

from mmbook.explain.attention_maps import attention_weights, rollout
from mmbook.explain.attribution import Attribution, attribute, shapley
from mmbook.explain.errors import Errors, browse_errors
from mmbook.explain.saliency import (
    IncompleteMap,
    by_pixel,
    by_token,
    gradient_x_input,
    integrated_gradients,
    smooth_grad,
)
from mmbook.explain.sanity import SanityCheck, randomised, sanity_check
from mmbook.explain.show import overlay, spectrogram_overlay, words_html

__all__ = [
    "Attribution",
    "Errors",
    "IncompleteMap",
    "SanityCheck",
    "attention_weights",
    "attribute",
    "browse_errors",
    "by_pixel",
    "by_token",
    "gradient_x_input",
    "integrated_gradients",
    "overlay",
    "randomised",
    "rollout",
    "sanity_check",
    "shapley",
    "smooth_grad",
    "spectrogram_overlay",
    "words_html",
]
