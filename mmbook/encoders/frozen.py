"""An encoder that is used and not trained."""

from __future__ import annotations

from torch import nn

from mmbook.modality import Modality
from mmbook.registry import register


@register
class Frozen(nn.Module):
    """Wrap an encoder so that training leaves it alone: ``Frozen(Bert.minilm())``.

    Two things are needed, and forgetting the second is a common fault. Its parameters get no gradient; and it
    stays in evaluation mode when the model around it is put in training mode, so that dropout is off and
    batch norm neither uses nor updates the statistics of the batch. Gradients with respect to its *input*
    still pass, which attribution needs. The config holds the encoder's, so a saved model comes back frozen.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        self.out_dim = encoder.out_dim
        self.reads = encoder.reads
        self.encoder.eval()

    def train(self, mode: bool = True) -> Frozen:
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, modality: Modality) -> Modality:
        return self.encoder(modality)
