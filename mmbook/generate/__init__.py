"""Generating a modality: from nothing, from other modalities, or in place of one that is missing."""

from mmbook.generate.adversarial import Adversarial, AdversarialOutput
from mmbook.generate.condition import Condition
from mmbook.generate.fill import fill, make_filler, with_gaps
from mmbook.generate.gan import LOSSES, Critic, Generator, gradient_penalty
from mmbook.generate.networks import DrawingNet, PictureNet, VectorNet
from mmbook.generate.vae import VAE, VAEOutput, kl_to_standard_normal
from mmbook.moved import moved_names

__all__ = [
    "LOSSES",
    "VAE",
    "Adversarial",
    "AdversarialOutput",
    "Condition",
    "Critic",
    "DrawingNet",
    "Generator",
    "PictureNet",
    "VAEOutput",
    "VectorNet",
    "fill",
    "gradient_penalty",
    "kl_to_standard_normal",
    "make_filler",
    "with_gaps",
]

__getattr__ = moved_names(__name__)
