"""LSTM and GRU against torch.nn on packed sequences; the GRU's cell by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from mmbook import Modality, MultimodalModel, Trainer, collate
from mmbook.book.written.recurrent_cells import gru_cell
from mmbook.encoders import GRU, LSTM, recurrent
from mmbook.encoders.recurrent import stack_frames
from mmbook.fusion import Concat
from mmbook.heads import Classification


def sounds(*lengths: int) -> Modality:
    torch.manual_seed(0)
    batch = collate([{"audio": torch.randn(length) * 0.1} for length in lengths])
    return Modality(batch["audio"], batch["audio_mask"])


def by_hand(x: Tensor, gru: nn.GRU, suffix: str) -> Tensor:
    """One direction of one layer over ``(B, T, D)``, a step of `gru_cell` at a time."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = [getattr(gru, f"{name}_{suffix}") for name in names]
    h = x.new_zeros(len(x), gru.hidden_size)
    outputs = []
    for t in range(x.shape[1]):
        h = gru_cell(x[:, t], h, *weights)
        outputs.append(h)
    return torch.stack(outputs, dim=1)


def test_cell_equals_torch() -> None:
    torch.manual_seed(0)
    gru = nn.GRU(6, 5, num_layers=2, bidirectional=True, batch_first=True)
    for parameter in gru.parameters():  # small states would hide on which side of the gate a bias stands
        nn.init.normal_(parameter)
    x = torch.randn(3, 11, 6)
    found = x
    for layer in ("l0", "l1"):
        forth = by_hand(found, gru, layer)
        back = by_hand(found.flip(1), gru, f"{layer}_reverse").flip(1)
        found = torch.cat([forth, back], dim=-1)
    expected, _ = gru(x)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    parameters = list(gru.parameters())
    ours = torch.autograd.grad(found.square().sum(), parameters)
    for a, b in zip(ours, torch.autograd.grad(expected.square().sum(), parameters), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("layers", "bidirectional"), [(1, False), (1, True), (3, False), (2, True)])
@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_equal_to_torch_on_packed_sequences(
    kind: type[LSTM] | type[GRU], layers: int, bidirectional: bool, training: bool
) -> None:
    torch.manual_seed(0)
    theirs = kind.layer(4 * 20, 24, layers, batch_first=True, bidirectional=bidirectional).train(training)
    ours = kind.from_reference(theirs)
    assert ours.training == training
    audio = sounds(7000, 400, 3300)
    frames, mask = stack_frames(ours.mel(audio), 4)
    with torch.set_grad_enabled(training):  # without gradients a CPU runs another kernel
        packed = pack_padded_sequence(frames, mask.sum(dim=1), batch_first=True, enforce_sorted=False)
        expected, _ = pad_packed_sequence(theirs(packed)[0], batch_first=True, total_length=frames.shape[1])
        found = ours(audio)
    assert torch.equal(found.mask, mask)
    torch.testing.assert_close(found.values, expected, atol=1e-5, rtol=1e-5)
    if not training:
        return
    found.values.square().sum().backward()
    expected.square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for stack, suffix in ((ours.forwards, ""), (ours.backwards, "_reverse")):
        for i, layer in enumerate(stack):
            for name, parameter in layer.named_parameters():
                expected_grad = gradients[name.replace("_l0", f"_l{i}{suffix}")]
                torch.testing.assert_close(parameter.grad, expected_grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_a_cpu_without_half_precision_runs_recurrent_layers_in_float32(
    kind: type[LSTM] | type[GRU], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values and gradients are those without autocast, in both directions and all layers."""
    monkeypatch.setattr(recurrent, "HALF_PRECISIONS", frozenset())
    torch.manual_seed(0)
    encoder, audio = kind(width=8, layers=2), sounds(3000, 900)
    parameters = list(encoder.parameters())
    plain = encoder(audio).values
    expected = torch.autograd.grad(plain.square().sum(), parameters)
    with torch.autocast("cpu", dtype):
        found = encoder(audio).values
        assert nn.Linear(16, 2)(found).dtype == dtype, "what comes after is under autocast again"
    assert torch.equal(found, plain)
    for a, b in zip(torch.autograd.grad(found.square().sum(), parameters), expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_torch_runs_every_half_precision_that_is_listed(kind: type[nn.RNNBase], dtype: torch.dtype) -> None:
    """On the machine at hand, in training and without gradients; where it is not listed ours does not ask."""
    layer, x = kind(8, 16, batch_first=True), torch.randn(2, 5, 8)
    for grad in (True, False):
        with (
            torch.autocast("cpu", dtype),
            recurrent.autocast_recurrent(x.device),
            torch.set_grad_enabled(grad),
        ):
            assert layer(x)[0].isfinite().all()


def test_autocast_stays_off_where_it_is_off() -> None:
    with recurrent.autocast_recurrent(torch.device("cpu")):
        assert not torch.is_autocast_enabled("cpu")


def test_the_trainer_trains_it_in_bfloat16() -> None:
    """``precision="bf16"`` on any CPU: finite loss, every parameter moves."""
    torch.manual_seed(0)
    rows = [{"audio": torch.randn(1600), "labels": i % 2} for i in range(4)]
    model = MultimodalModel({"audio": LSTM(width=8)}, Concat({"audio": 16}, 8), Classification(8, 2))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trainer = Trainer(model, rows, epochs=1, batch_size=2, lr=0.01, seed=0, precision="bf16", device="cpu")
    trainer.fit()
    assert all(
        not torch.equal(p, before[name]) and p.isfinite().all() for name, p in model.named_parameters()
    )


def test_a_gru_has_three_quarters_of_the_parameters_of_an_lstm() -> None:
    gru, lstm = (sum(p.numel() for p in cls(width=32).parameters()) for cls in (GRU, LSTM))
    assert 4 * gru == 3 * lstm


def test_other_grus_are_refused() -> None:
    with pytest.raises(ValueError, match=r"GRU got a LSTM.*nn\.GRU"):
        GRU.from_reference(nn.LSTM(8, 6))
    with pytest.raises(ValueError, match="bias=False"):
        GRU.from_reference(nn.GRU(8, 6, bias=False))
    with pytest.raises(ValueError, match="input_size=9"):
        GRU.from_reference(nn.GRU(9, 6))
