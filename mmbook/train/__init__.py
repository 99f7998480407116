"""Training: the loop, the optimiser, the course of the learning rate."""

from mmbook.train.optimizer import build_optimizer, lr_factor
from mmbook.train.trainer import Predictions, Trainer

__all__ = ["Predictions", "Trainer", "build_optimizer", "lr_factor"]
