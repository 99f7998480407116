"""The table of encoders: operations counted by hand, and every encoder has a row."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmbook.book.written.encoder_costs import SAMPLES, flops, overview
from mmbook.encoders import ENCODERS, LSTM, Bert, LogMel, SmallCNN, build_encoder


@pytest.mark.parametrize(("T", "layers", "D", "hidden"), [(5, 1, 16, 40), (32, 3, 48, 64)])
def test_operations_of_a_transformer(T: int, layers: int, D: int, hidden: int) -> None:
    """Per layer Q, K, V and the output (4 D² a token), the perceptron (2 D hidden), and two T² D products."""
    bert = Bert(vocab_size=20, width=D, layers=layers, heads=4, hidden=hidden, max_positions=64)
    macs = layers * (4 * T * D * D + 2 * T * D * hidden + 2 * T * T * D)
    assert flops(bert, torch.zeros(1, T, dtype=torch.long)) == (2 * macs, T)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_operations_of_an_lstm(bidirectional: bool) -> None:
    """A step multiplies four gates with its input and with its state; before it come the filters."""
    lstm = LSTM(width=24, bidirectional=bidirectional, stack=4, mel=LogMel(n_mels=16))
    steps, frames = 25, 98  # of one second: 1 + (16000 - 400) // 160 frames, four of them a step
    macs = (1 + bidirectional) * steps * (4 * 16 * 4 * 24 + 24 * 4 * 24) + frames * 201 * 16
    assert flops(lstm, torch.zeros(1, 16000)) == (2 * macs, steps)


def test_operations_of_convolutions() -> None:
    """Each output cell of a 3 x 3 convolution multiplies nine cells of every channel before."""
    macs = 16 * 16 * 8 * 9 * 3 + 8 * 8 * 16 * 9 * 8
    assert flops(SmallCNN((8, 16)), torch.zeros(1, 1, 3, 32, 32)) == (2 * macs, 64)


def test_counting_leaves_the_mode_alone() -> None:
    encoder = SmallCNN((8,)).train()
    flops(encoder, torch.zeros(1, 1, 3, 32, 32))
    assert encoder.training


def test_every_encoder_has_a_row() -> None:
    needed = {"word2vec": {"vocabulary": ["a", "word"]}}
    encoders = [build_encoder(name, **needed.get(name, {})) for name in ENCODERS]
    table = overview(encoders)
    assert list(table.index) == [type(encoder).__name__ for encoder in encoders]
    assert (table["MFLOPs"] > 0).sum() == len(table) - 1, "only a look-up in a table multiplies nothing"
    for encoder, (_, row) in zip(encoders, table.iterrows(), strict=True):
        assert row["reads"] == encoder.reads and row["reads"] in SAMPLES
        assert row["out_dim"] == encoder.out_dim
        assert row["parameters"] == sum(p.numel() for p in encoder.parameters())
        assert row["source"] == "this book" or row["source"][-4:].isdigit(), "authors and year"


def test_two_of_a_kind_and_another_sample() -> None:
    twins: list[nn.Module] = [SmallCNN((8,)), SmallCNN((8, 16))]
    table = overview(twins, {"image": torch.zeros(1, 1, 3, 32, 32)})
    assert len(table) == 2 and table.index.is_unique
    assert table["tokens"].tolist() == [256, 64]
    assert table["sample"].tolist() == ["1 x 3 x 32 x 32"] * 2
