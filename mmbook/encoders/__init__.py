"""Encoders: ``encoder(Modality) -> Modality``, raw values in, tokens ``(B, T', encoder.out_dim)`` out.

All of them keep one contract, which tests/test_encoders.py runs over every entry of `ENCODERS`: nothing under
the mask is read; padding at the end changes nothing; a row that lacks the modality gives zeros and a mask of
False. ``encoder.reads`` says which modality it takes: text, image, audio or video.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from mmbook.encoders.bert import Bert
from mmbook.encoders.framewise import Framewise
from mmbook.encoders.mel import LogMel, TelephoneMel
from mmbook.encoders.mel_cnn import MelCNN
from mmbook.encoders.mobilenet import MobileNetV2
from mmbook.encoders.recurrent import GRU, LSTM
from mmbook.encoders.resnet import ResNet
from mmbook.encoders.small_cnn import SmallCNN
from mmbook.encoders.space_time import SpaceTime
from mmbook.encoders.vgg import VGG
from mmbook.encoders.video3d import Video3D
from mmbook.encoders.vit import ViT
from mmbook.encoders.wav2vec2 import Wav2Vec2
from mmbook.encoders.word2vec import Word2Vec
from mmbook.encoders.wrappers import Flattened, Frozen, Pooled, Projected
from mmbook.moved import moved_names

__all__ = [
    "ENCODERS", "GRU", "LSTM", "VGG", "Bert", "Flattened", "Framewise", "Frozen", "LogMel", "MelCNN",
    "MobileNetV2", "Pooled", "Projected", "ResNet", "SmallCNN", "SpaceTime", "TelephoneMel", "ViT", "Video3D",
    "Wav2Vec2", "Word2Vec", "build_encoder",
]  # fmt: skip

__getattr__ = moved_names(__name__)

ENCODERS: dict[str, type[nn.Module]] = {
    "word2vec": Word2Vec,
    "bert": Bert,
    "small_cnn": SmallCNN,
    "vgg": VGG,
    "resnet": ResNet,
    "vit": ViT,
    "mobilenet_v2": MobileNetV2,
    "lstm": LSTM,
    "gru": GRU,
    "mel_cnn": MelCNN,
    "wav2vec2": Wav2Vec2,
    "framewise": Framewise,
    "video3d": Video3D,
    "space_time": SpaceTime,
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
