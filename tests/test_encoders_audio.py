"""Log-mel frames against torchaudio, the LSTM's cell against torch.nn.LSTM; the mel CNN."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from mmbook import Modality, collate
from mmbook.book.written.recurrent_cells import lstm_cell
from mmbook.encoders import LSTM, LogMel, MelCNN
from mmbook.encoders.recurrent import stack_frames


def sounds(*lengths: int) -> Modality:
    torch.manual_seed(0)
    batch = collate([{"audio": torch.randn(length) * 0.1} for length in lengths])
    return Modality(batch["audio"], batch["audio_mask"])


def tone(hertz: float, seconds: float = 0.5, rate: int = 16000) -> Tensor:
    return torch.sin(2 * math.pi * hertz * torch.arange(round(seconds * rate)) / rate)[None]


@pytest.mark.parametrize(
    ("rate", "n_fft", "hop", "n_mels"), [(16000, 400, 160, 64), (16000, 512, 128, 40), (24000, 600, 240, 80)]
)
def test_mel_equals_torchaudio(rate: int, n_fft: int, hop: int, n_mels: int) -> None:
    from torchaudio.transforms import MelSpectrogram

    waves = torch.cat([torch.randn(2, 8000), tone(440.0), 1e-3 * torch.randn(1, 8000)])
    theirs = MelSpectrogram(rate, n_fft, hop_length=hop, n_mels=n_mels, center=False)(waves)
    found = LogMel(rate, n_fft, hop, n_mels).mel(waves)
    # a pure tone leaves rounding of the transform, and nothing else, in the far bands: hence the absolute
    # part
    torch.testing.assert_close(found, theirs.transpose(1, 2), rtol=1e-4, atol=1e-7 * theirs.max().item())


def test_filters_share_the_power_of_each_frequency() -> None:
    """Between the first and the last centre the triangles of neighbours add up to one."""
    total = LogMel(n_mels=20).filters.sum(dim=1)  # (frequencies,)
    inside = slice(int(total.argmax()), len(total) - 40)
    torch.testing.assert_close(total[inside], torch.ones_like(total[inside]), atol=1e-4, rtol=0)


def test_a_higher_tone_lights_a_higher_band() -> None:
    mel = LogMel()
    bands = [mel.mel(tone(hertz)).mean(dim=1).argmax().item() for hertz in (200, 400, 800, 1600, 3200, 6400)]
    assert bands == sorted(set(bands))


def test_ten_times_louder_adds_log_100_everywhere() -> None:
    mel = LogMel(floor=1e-12, mean=0.0, std=1.0)
    quiet = sounds(8000)
    difference = mel(Modality(10 * quiet.values, quiet.mask)).values - mel(quiet).values
    torch.testing.assert_close(difference, torch.full_like(difference, math.log(100)), atol=1e-3, rtol=0)


def test_silence_is_finite() -> None:
    silence = Modality(torch.zeros(1, 800), torch.ones(1, 800, dtype=torch.bool))
    assert LogMel()(silence).values.isfinite().all()


def test_number_of_frames() -> None:
    """A frame for each hop that fits; one for a sound shorter than a frame; none for no sound."""
    lengths = [1, 399, 400, 559, 560, 4000]
    frames = LogMel()(sounds(*lengths)).mask.sum(dim=1).tolist()
    assert frames == [1, 1, 1, 1, 2, 23]
    assert not LogMel()(Modality(torch.zeros(2, 900), torch.zeros(2, 900, dtype=torch.bool))).mask.any()


def test_padding_in_front_is_refused() -> None:
    mask = torch.ones(1, 800, dtype=torch.bool)
    mask[0, :100] = False
    with pytest.raises(ValueError, match="at the end"):
        LSTM(width=4)(Modality(torch.zeros(1, 800), mask))


def by_hand(x: Tensor, lstm: nn.LSTM, suffix: str) -> Tensor:
    """One direction of one layer over ``(B, T, D)``, a step of `lstm_cell` at a time."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = [getattr(lstm, f"{name}_{suffix}") for name in names]
    h = c = x.new_zeros(len(x), lstm.hidden_size)
    outputs = []
    for t in range(x.shape[1]):
        h, c = lstm_cell(x[:, t], h, c, *weights)
        outputs.append(h)
    return torch.stack(outputs, dim=1)


def test_cell_equals_torch() -> None:
    torch.manual_seed(0)
    lstm = nn.LSTM(6, 5, num_layers=2, bidirectional=True, batch_first=True)
    x = torch.randn(3, 11, 6)
    found = x
    for layer in ("l0", "l1"):
        forth = by_hand(found, lstm, layer)
        back = by_hand(found.flip(1), lstm, f"{layer}_reverse").flip(1)
        found = torch.cat([forth, back], dim=-1)
    expected, _ = lstm(x)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    parameters = list(lstm.parameters())
    ours = torch.autograd.grad(found.square().sum(), parameters)
    for a, b in zip(ours, torch.autograd.grad(expected.square().sum(), parameters), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_other_lstms_are_refused() -> None:
    with pytest.raises(ValueError, match="proj_size=3"):
        LSTM.from_reference(nn.LSTM(8, 6, proj_size=3))
    with pytest.raises(ValueError, match="input_size=9"):
        LSTM.from_reference(nn.LSTM(9, 6))
    with pytest.raises(ValueError, match=r"LSTM got a GRU.*nn\.LSTM"):
        LSTM.from_reference(nn.GRU(8, 6))


def test_stacking_keeps_every_frame() -> None:
    frames = Modality(torch.randn(2, 7, 3), torch.arange(7) < torch.tensor([[7], [2]]))
    values, mask = stack_frames(frames, 3)
    assert values.shape == (2, 3, 9) and mask.tolist() == [[True] * 3, [True, False, False]]
    assert torch.equal(values[0].reshape(9, 3)[:7], frames.values[0])
    assert torch.equal(values[1, 0, :6], frames.values[1, :2].flatten()) and not values[1, 0, 6:].any()


def test_front_end_is_saved_in_the_config() -> None:
    encoder = MelCNN((4,), mel=LogMel(n_mels=24, hop=200))
    assert encoder.config["mel"]["n_mels"] == 24 and encoder.config["mel"]["type"] == "LogMel"
    assert encoder(sounds(1000)).mask.shape == (1, 2), "4 frames of hop 200, halved"


def test_without_the_mask_after_each_stage_a_convolution_reads_padding() -> None:
    """The norm turns the zeros of the padding into something else, which the next stage would read."""
    torch.manual_seed(0)
    encoder = MelCNN((8, 8)).eval()
    # 10 frames, 5 after the first stage: the last kernel of the second stage reaches one beyond them
    short, padded = sounds(1840), sounds(1840, 9000)
    x, y = encoder.mel(short).values[:, None], encoder.mel(padded).values[:1, None]
    for stage in encoder.stages:
        x, _ = stage(x, torch.ones(1, x.shape[2], dtype=torch.bool))
        y, _ = stage(y, torch.ones(1, y.shape[2], dtype=torch.bool))
    assert not torch.allclose(x, y[:, :, : x.shape[2]], atol=1e-3)
    a, b = encoder(short), encoder(padded)
    torch.testing.assert_close(a.values[0], b.values[0, : a.values.shape[1]], atol=1e-5, rtol=1e-5)
