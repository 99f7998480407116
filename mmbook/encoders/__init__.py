"""Encoders: ``encoder(Modality) -> Modality``, raw values in, tokens ``(B, T', encoder.out_dim)`` out.

All of them keep one contract, which tests/test_encoders.py runs over every entry of `ENCODERS`: nothing under
the mask is read; padding at the end changes nothing; a row that lacks the modality gives zeros and a mask of
False. ``encoder.reads`` says which modality it takes: text, image or audio.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from mmbook.encoders.bert import Bert
from mmbook.encoders.flattened import Flattened
from mmbook.encoders.frozen import Frozen
from mmbook.encoders.log_mel import LogMel
from mmbook.encoders.lstm import LSTM
from mmbook.encoders.mel_cnn import MelCNN
from mmbook.encoders.mobilenet import MobileNetV2
from mmbook.encoders.pooled import Pooled
from mmbook.encoders.projected import Projected
from mmbook.encoders.small_cnn import SmallCNN

__all__ = [
    "ENCODERS",
    "LSTM",
    "Bert",
    "Flattened",
    "Frozen",
    "LogMel",
    "MelCNN",
    "MobileNetV2",
    "Pooled",
    "Projected",
    "SmallCNN",
    "build_encoder",
]

ENCODERS: dict[str, type[nn.Module]] = {
    "bert": Bert,
    "small_cnn": SmallCNN,
    "mobilenet_v2": MobileNetV2,
    "lstm": LSTM,
    "mel_cnn": MelCNN,
}


def build_encoder(name: str, freeze: bool = False, **options: Any) -> nn.Module:
    """A new encoder with random weights; ``freeze=True`` wraps it in `Frozen`.

    Pretrained ones have names of their own: ``Bert.minilm()``, ``MobileNetV2.pretrained()``.

    Args:
        name: a key of `ENCODERS`.
        options: the arguments of its class.

    Raises:
        ValueError: a name that is not in `ENCODERS`.
    """
    if name not in ENCODERS:
        raise ValueError(f"no encoder is called {name!r}; there are {', '.join(ENCODERS)}")
    encoder = ENCODERS[name](**options)
    return Frozen(encoder) if freeze else encoder
