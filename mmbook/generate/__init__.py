"""Generating a modality: from nothing, from other modalities, or in place of one that is missing."""

from mmbook.generate.condition import Condition
from mmbook.generate.networks import VectorNet
from mmbook.generate.vae import VAE, VAEOutput, kl_to_standard_normal
from mmbook.moved import moved_names

__all__ = [
    "VAE", "Condition", "VAEOutput", "VectorNet", "kl_to_standard_normal",
]  # fmt: skip

__getattr__ = moved_names(__name__)
