"""Whole models: `MultimodalModel`, and the short way to one over ready-made features."""

from mmbook.models.balance import Blended, Modulated, blend_weights
from mmbook.models.features import Features, encode_dataset, fusion_on_features
from mmbook.models.multimodal import MultimodalModel, MultimodalOutput
from mmbook.models.multitask import FixedWeights, MultiTask, UncertaintyWeights

__all__ = [
    "Blended", "Features", "FixedWeights", "Modulated", "MultiTask", "MultimodalModel", "MultimodalOutput",
    "UncertaintyWeights", "blend_weights", "encode_dataset", "fusion_on_features",
]  # fmt: skip
