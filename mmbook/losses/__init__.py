"""Losses of pairs (contrastive) and of boxes; those of classes and numbers are torch's own."""

from mmbook.losses.boxes import corners, generalized_iou
from mmbook.losses.contrastive import cosines, info_nce, sigmoid_contrastive
from mmbook.moved import moved_names

__all__ = [
    "corners", "cosines", "generalized_iou", "info_nce", "sigmoid_contrastive",
]  # fmt: skip

__getattr__ = moved_names(__name__)
