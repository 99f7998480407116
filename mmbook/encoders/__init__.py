"""Encoders: ``encoder(Modality) -> Modality``, raw values in, tokens ``(B, T', encoder.out_dim)`` out.

All of them keep one contract, which tests/test_encoders.py runs over every entry of `ENCODERS`: nothing under
the mask is read; padding at the end changes nothing; a row that lacks the modality gives zeros and a mask of
False. ``encoder.reads`` says which modality it takes: text, image, audio or video.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from mmbook.encoders.bert import Bert
from mmbook.encoders.costs import overview
from mmbook.encoders.flattened import Flattened
from mmbook.encoders.framewise import Framewise
from mmbook.encoders.frozen import Frozen
from mmbook.encoders.gru import GRU
from mmbook.encoders.log_mel import LogMel
from mmbook.encoders.lora import LoRA, LoRALinear, add_lora, merge_lora
from mmbook.encoders.lstm import LSTM
from mmbook.encoders.mel_cnn import MelCNN
from mmbook.encoders.mobilenet import MobileNetV2
from mmbook.encoders.pooled import Pooled
from mmbook.encoders.projected import Projected
from mmbook.encoders.resnet import ResNet
from mmbook.encoders.skip_gram import skip_gram
from mmbook.encoders.small_cnn import SmallCNN
from mmbook.encoders.space_time import SpaceTime
from mmbook.encoders.telephone_mel import TelephoneMel
from mmbook.encoders.token_transformer import TokenTransformer
from mmbook.encoders.vgg import VGG
from mmbook.encoders.video3d import Video3D
from mmbook.encoders.vit import ViT
from mmbook.encoders.wav2vec2 import Wav2Vec2
from mmbook.encoders.word2vec import Word2Vec

__all__ = [
    "ENCODERS",
    "GRU",
    "LSTM",
    "VGG",
    "Bert",
    "Flattened",
    "Framewise",
    "Frozen",
    "LoRA",
    "LoRALinear",
    "LogMel",
    "MelCNN",
    "MobileNetV2",
    "Pooled",
    "Projected",
    "ResNet",
    "SmallCNN",
    "SpaceTime",
    "TelephoneMel",
    "TokenTransformer",
    "ViT",
    "Video3D",
    "Wav2Vec2",
    "Word2Vec",
    "add_lora",
    "build_encoder",
    "merge_lora",
    "overview",
    "skip_gram",
]

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
