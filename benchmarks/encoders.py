"""Encoders against transformers, torchvision and torch.nn: a forward pass, and a training step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.paired import paired, seconds
from mmbook import Modality, collate
from mmbook.encoders import LSTM, Bert, MelCNN, MobileNetV2, SmallCNN
from mmbook.encoders.lstm import stack_frames

BATCH = 16
REPEATS = 15
Row = dict[str, object]
Run = Callable[[], Tensor]


def main() -> list[Row]:
    """One row for each encoder and way to run it. `per_second`: samples, or seconds of sound, of ours."""
    torch.manual_seed(0)
    rows = [*bert(), *mobilenet(96), *mobilenet(72), *lstm()]
    for size in (96, 72):
        cnn, images = SmallCNN(), pictures(size)
        rows += alone(f"SmallCNN, {size} px", cnn, partial(tokens, cnn, images), BATCH)
    mel_cnn, audio = MelCNN(), sound(3)
    return [*rows, *alone("MelCNN, 3 s", mel_cnn, partial(tokens, mel_cnn, audio), 3 * BATCH)]


def bert() -> list[Row]:
    """MiniLM's size, texts of 8 to 40 tokens."""
    from transformers import BertConfig, BertModel

    config = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
    theirs = BertModel(config, add_pooling_layer=False)
    ours = Bert.from_reference(theirs)
    lengths = torch.randint(8, 41, (BATCH,)).tolist()
    batch = collate([{"text": torch.randint(1, config.vocab_size, (length,))} for length in lengths])
    text, attended = Modality(batch["text"], batch["text_mask"]), batch["text_mask"].long()

    def reference() -> Tensor:
        return theirs(input_ids=text.values, attention_mask=attended).last_hidden_state

    return compare("Bert, MiniLM's size", ours, partial(tokens, ours, text), theirs, reference, BATCH)


def mobilenet(size: int) -> list[Row]:
    from torchvision.models import mobilenet_v2

    theirs = mobilenet_v2().features
    ours = MobileNetV2.from_reference(mobilenet_v2())
    images = pictures(size)
    name = f"MobileNetV2, {size} px"
    reference = partial(theirs, images.values[:, 0])
    return compare(name, ours, partial(tokens, ours, images), theirs, reference, BATCH)


def lstm() -> list[Row]:
    """Against torch.nn.LSTM on packed sequences, the usual way to be blind to padding; after one log-mel."""
    theirs = nn.LSTM(256, 128, batch_first=True, bidirectional=True)
    ours = LSTM.from_reference(theirs)
    audio = sound(3)

    def reference() -> Tensor:
        frames, mask = stack_frames(ours.mel(audio), ours.stack)
        packed = pack_padded_sequence(frames, mask.sum(dim=1), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(theirs(packed)[0], batch_first=True)[0]

    return compare("LSTM, 3 s", ours, partial(tokens, ours, audio), theirs, reference, 3 * BATCH)


def compare(
    what: str, ours: nn.Module, run: Run, theirs: nn.Module, reference: Run, amount: int
) -> list[Row]:
    """`amount`: how many samples, or seconds of sound, one run takes in."""
    rows: list[Row] = []
    for (step, one), (_, other) in zip(ways(ours, run), ways(theirs, reference), strict=True):
        times = paired(one, other, REPEATS)
        rows.append({"what": what, "step": step, **times, "per_second": 1000 * amount / times["ours_ms"]})
    return rows


def alone(what: str, encoder: nn.Module, run: Run, amount: int) -> list[Row]:
    """For an encoder without a reference: only its own time."""
    rows: list[Row] = []
    for step, one in ways(encoder, run):
        one()
        time = median(seconds(one) for _ in range(REPEATS))
        rows.append({"what": what, "step": step, "ours_ms": 1000 * time, "per_second": amount / time})
    return rows


def ways(module: nn.Module, run: Run) -> Iterator[tuple[str, Callable[[], object]]]:
    """The two ways to run a module: in evaluation without gradients, and in training with a backward pass."""

    def forward() -> None:
        module.eval()
        with torch.no_grad():
            run()

    def training() -> None:
        module.train()
        module.zero_grad()
        run().square().mean().backward()

    yield "forward", forward
    yield "training step", training


def tokens(encoder: nn.Module, modality: Modality) -> Tensor:
    return encoder(modality).values


def pictures(size: int) -> Modality:
    return Modality(torch.randn(BATCH, 1, 3, size, size), torch.ones(BATCH, 1, dtype=torch.bool))


def sound(length: int) -> Modality:
    """White noise of `length` seconds at 16 kHz."""
    shape = (BATCH, 16000 * length)
    return Modality(0.1 * torch.randn(shape), torch.ones(shape, dtype=torch.bool))
