"""Audio encoders beside transformers and torch.nn."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.pair import Pair
from mmbook import Modality
from mmbook.encoders import GRU, LSTM, MelCNN, Wav2Vec2
from mmbook.encoders.recurrent import Recurrent, stack_frames

RATE = 16000


def pairs() -> Iterator[Pair]:
    """Recurrent nets on 16 sounds of 3 s, after one log-mel; the base wav2vec 2.0 on fewer."""
    for cls, layer in ((LSTM, nn.LSTM), (GRU, nn.GRU)):
        yield recurrent(cls, layer(256, 128, batch_first=True, bidirectional=True), sounds([3] * 16))
    audio = sounds([3] * 16)
    mel_cnn = MelCNN()
    yield Pair("MelCNN, 3 s", mel_cnn, partial(tokens, mel_cnn, audio), None, None, 3 * 16)
    yield wav2vec2("Wav2Vec2 base, group norm, 3 s", sounds([3, 3]))
    # layer norm, as the large models have, and so blind to padding
    large = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
    yield wav2vec2("Wav2Vec2 base, layer norm, 1 to 3 s", sounds([3, 2, 1]), **large)


def recurrent(cls: type[Recurrent], theirs: Any, audio: Modality) -> Pair:
    """Against torch.nn on packed sequences, the usual way to be blind to padding."""
    ours = cls.from_reference(theirs)

    def reference() -> Tensor:
        frames, mask = stack_frames(ours.mel(audio), ours.stack)
        packed = pack_padded_sequence(frames, mask.sum(dim=1), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(theirs(packed)[0], batch_first=True)[0]

    name = f"{cls.__name__}, 3 s"
    return Pair(name, ours, partial(tokens, ours, audio), theirs, reference, seconds(audio))


def wav2vec2(name: str, audio: Modality, **kind: Any) -> Pair:
    """Against transformers with SDPA and no masking of spans; without its mask where nothing is padded."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    # the paths that training only takes, and ours has not
    off: dict[str, Any] = {"layerdrop": 0.0, "mask_time_prob": 0.0, "activation_dropout": 0.0}
    theirs = Wav2Vec2Model(Wav2Vec2Config(**off, **kind))
    ours = Wav2Vec2.from_reference(theirs)
    mask = None if audio.mask.all() else audio.mask.long()

    def reference() -> Tensor:
        return theirs(audio.values, attention_mask=mask).last_hidden_state

    return Pair(name, ours, partial(tokens, ours, audio), theirs, reference, seconds(audio))


def tokens(encoder: nn.Module, modality: Modality) -> Tensor:
    return encoder(modality).values


def sounds(lengths: list[int]) -> Modality:
    """White noise of these lengths in seconds at 16 kHz, padded."""
    mask = torch.arange(RATE * max(lengths)) < RATE * torch.tensor(lengths)[:, None]
    return Modality(0.1 * torch.randn(mask.shape) * mask, mask)


def seconds(audio: Modality) -> float:
    """Of sound, padding not counted."""
    return audio.mask.sum().item() / RATE
