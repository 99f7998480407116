"""What is minimised: losses, those of classes and numbers with their gradients written out."""

from mmbook.losses.boxes import corners, generalized_iou
from mmbook.losses.classes import (
    cross_entropy,
    cross_entropy_gradient,
    sigmoid_focal,
    sigmoid_focal_gradient,
    smoothed,
    softmax_focal,
    softmax_focal_gradient,
)
from mmbook.losses.contrastive import cosines, info_nce, sigmoid_contrastive
from mmbook.losses.numbers import mse, mse_gradient

__all__ = [
    "corners",
    "cosines",
    "cross_entropy",
    "cross_entropy_gradient",
    "generalized_iou",
    "info_nce",
    "mse",
    "mse_gradient",
    "sigmoid_contrastive",
    "sigmoid_focal",
    "sigmoid_focal_gradient",
    "smoothed",
    "softmax_focal",
    "softmax_focal_gradient",
]
