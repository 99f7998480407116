"""Whole models: `MultimodalModel`, and the short way to one over ready-made features."""

from mmbook.models.features import Features, encode_dataset, fusion_on_features
from mmbook.models.multimodal import MultimodalModel, MultimodalOutput

__all__ = ["Features", "MultimodalModel", "MultimodalOutput", "encode_dataset", "fusion_on_features"]
