"""Training: the loop, the optimiser, the course of the learning rate."""

from mmbook.train.callbacks import Callback
from mmbook.train.optimizer import build_optimizer
from mmbook.train.predictions import Predictions
from mmbook.train.settings import Settings
from mmbook.train.trainer import Trainer, lr_factor

__all__ = ["Callback", "Predictions", "Settings", "Trainer", "build_optimizer", "lr_factor"]
