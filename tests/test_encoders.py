"""The contract of the encoders, over every entry of ENCODERS; what is particular to one has its own file."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmbook import Modality
from mmbook.encoders import ENCODERS, Frozen, build_encoder
from mmbook.registry import build

# Sizes at which a test takes milliseconds; an encoder that is not listed runs with its defaults.
SMALL: dict[str, dict[str, Any]] = {
    "word2vec": {"vocabulary": [f"word{i}" for i in range(49)], "width": 16},
    "bert": {"vocab_size": 50, "width": 32, "layers": 2, "heads": 4, "hidden": 64, "max_positions": 40},
    "small_cnn": {"channels": (8, 16)},
    "vgg": {"layers": (8, "M", 12, 16, "M")},
    "resnet": {"depths": (1, 2), "widths": (8, 12), "stem": 8},
    "vit": {"size": (64, 48), "width": 32, "layers": 2, "heads": 4, "hidden": 48},
    "mobilenet_v2": {"stages": ((1, 8, 1, 1), (6, 16, 2, 2), (6, 16, 1, 1)), "stem": 8, "out_dim": 24},
    "lstm": {"width": 16, "layers": 2},
    "gru": {"width": 16, "layers": 2},
    "mel_cnn": {"channels": (4, 8), "out_dim": 16},
    "wav2vec2": {
        "channels": (8, 12),
        "kernels": (10, 3),
        "strides": (8, 4),
        "width": 16,
        "layers": 2,
        "heads": 2,
        "hidden": 24,
        "position_kernel": 6,
        "position_groups": 2,
    },
    "framewise": {},
    "video3d": {"widths": (8, 16), "blocks": (2, 1)},
    "space_time": {"size": 32, "frames": 11, "width": 32, "layers": 2, "heads": 4, "hidden": 64},
}
LENGTHS = {
    "text": [7, 3, 1, 5],
    "image": [2, 1, 1, 2],
    "audio": [4000, 1700, 90, 3217],
    "video": [8, 5, 1, 3],
}
JUNK = {
    "text": [2**40, -7],
    "image": [float("nan"), float("inf")],
    "video": [float("nan"), float("inf")],
    "audio": [float("nan"), float("-inf"), 1e30],
}


def small(name: str) -> nn.Module:
    torch.manual_seed(0)
    return build_encoder(name, **SMALL.get(name, {}))


def item(reads: str, length: int) -> Tensor:
    """Random raw values ``(length, ...)`` of a modality."""
    if reads == "text":
        return torch.randint(1, 50, (length,))
    if reads == "audio":
        return torch.randn(length) * 0.1
    return torch.rand(length, 3, 64, 48) if reads == "image" else torch.rand(length, 3, 32, 32)


def batch(reads: str, missing: tuple[int, ...] = (), extra: int = 0, junk: bool = False) -> Modality:
    """Four rows of `LENGTHS`, those of `missing` empty, with `extra` steps of padding, zeros or junk."""
    torch.manual_seed(1)
    items = [item(reads, length) for length in LENGTHS[reads]]
    values = items[0].new_zeros(len(items), max(LENGTHS[reads]) + extra, *items[0].shape[1:])
    if junk:
        bad = torch.tensor(JUNK[reads], dtype=values.dtype)
        values = bad.repeat(values.numel() // len(bad) + 1)[: values.numel()].reshape(values.shape).clone()
    mask = torch.zeros(values.shape[:2], dtype=torch.bool)
    for row, one in enumerate(items):
        if row not in missing:
            values[row, : len(one)] = one
            mask[row, : len(one)] = True
    return Modality(values, mask)


def tokens(output: Modality) -> list[Tensor]:
    """The real tokens of each row."""
    return [values[mask] for values, mask in zip(*output, strict=True)]


@pytest.fixture(params=ENCODERS)
def encoder(request: pytest.FixtureRequest) -> nn.Module:
    return small(request.param).eval()


def test_output_is_a_modality_of_the_stated_width(encoder: nn.Module) -> None:
    output = encoder(batch(encoder.reads))
    B, T, D = output.values.shape
    assert B == 4 and encoder.out_dim == D
    assert output.mask.shape == (B, T) and output.mask.dtype == torch.bool
    assert all(len(row) > 0 for row in tokens(output)), "a row that has the modality must have tokens"
    assert not output.values[~output.mask].any(), "values under the mask are zero"


def test_padding_changes_nothing(encoder: nn.Module) -> None:
    reads = encoder.reads
    extra = {"text": 9, "image": 2, "audio": 1777, "video": 3}[reads]
    plain, padded = encoder(batch(reads)), encoder(batch(reads, extra=extra))
    junk = encoder(batch(reads, extra=extra, junk=True))
    for a, b, c in zip(tokens(plain), tokens(padded), tokens(junk), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(a, c, atol=1e-5, rtol=1e-5)
    assert junk.values.isfinite().all()


def test_each_row_is_what_it_is_alone(encoder: nn.Module) -> None:
    """Batch of one, without any padding, against the same row among longer ones."""
    together = batch(encoder.reads, junk=True)
    for row, expected in enumerate(tokens(encoder(together))):
        real = together.values[row][together.mask[row]][None]
        alone = encoder(Modality(real, torch.ones(real.shape[:2], dtype=torch.bool)))
        torch.testing.assert_close(tokens(alone)[0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_missing_rows_are_finite_and_leave_the_others_alone(encoder: nn.Module, training: bool) -> None:
    encoder.train(training)
    for module in encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0
    whole = batch(encoder.reads, missing=(1, 2), junk=True)
    output = encoder(whole)
    assert output.values.isfinite().all()
    assert output.present.tolist() == [True, False, False, True]
    without = encoder(Modality(whole.values[[0, 3]], whole.mask[[0, 3]]))
    for a, b in zip(tokens(without), [tokens(output)[0], tokens(output)[3]], strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_a_batch_without_the_modality_is_finite_and_touches_every_parameter(
    encoder: nn.Module, training: bool
) -> None:
    encoder.train(training)
    output = encoder(batch(encoder.reads, missing=(0, 1, 2, 3), junk=True))
    assert not output.mask.any() and not output.values.any()
    output.values.sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, (
            f"{name} is out of the graph: distributed training would wait for it"
        )
        assert not parameter.grad.any(), f"{name} learns from a modality that is not there"
    assert all(value.isfinite().all() for value in encoder.state_dict().values())


def test_every_parameter_gets_a_gradient(encoder: nn.Module) -> None:
    encoder.train()
    output = encoder(batch(encoder.reads, missing=(1,), junk=True))
    (output.values * torch.randn_like(output.values)).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), f"{name} has a gradient of zero"


def test_junk_under_the_mask_does_not_reach_the_gradient(encoder: nn.Module) -> None:
    def gradients(junk: bool) -> list[Tensor]:
        encoder.zero_grad()
        encoder(batch(encoder.reads, missing=(1,), junk=junk)).values.square().sum().backward()
        return [parameter.grad.clone() for parameter in encoder.parameters()]

    for a, b in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_bfloat16_autocast(encoder: nn.Module) -> None:
    data = batch(encoder.reads, missing=(2,), junk=True)
    full = encoder(data)
    with torch.autocast("cpu", torch.bfloat16):
        half = encoder(data)
    assert torch.equal(half.mask, full.mask)
    error = (half.values.float() - full.values).abs().max()
    assert error < 0.1 * full.values.abs().max(), "bfloat16 keeps two to three digits"
    encoder.train()
    with torch.autocast("cpu", torch.bfloat16):
        encoder(data).values.float().square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())


@pytest.mark.parametrize("freeze", [False, True])
@pytest.mark.parametrize("name", ENCODERS)
def test_config_and_weights_rebuild_the_encoder(name: str, freeze: bool) -> None:
    first = build_encoder(name, freeze=freeze, **SMALL.get(name, {}))
    second = build(json.loads(json.dumps(first.config)))
    assert second.config == first.config
    second.load_state_dict(first.state_dict(), strict=True)
    first.eval(), second.eval()
    data = batch(first.reads)
    assert torch.equal(first(data).values, second(data).values)
    assert [p.requires_grad for p in second.parameters()] == [not freeze] * len(list(first.parameters()))
    assert all(tensor.is_contiguous() for tensor in first.state_dict().values()), (
        "safetensors refuses strides"
    )


@pytest.mark.parametrize("name", ENCODERS)
def test_frozen_does_not_change_in_training(name: str) -> None:
    frozen = Frozen(small(name))
    head = nn.Linear(frozen.out_dim, 1)
    model = nn.ModuleList([frozen, head]).train()
    before = {key: value.clone() for key, value in frozen.state_dict().items()}
    data = batch(frozen.reads)
    first, second = frozen(data), frozen(data)
    assert torch.equal(first.values, second.values), "dropout is off"
    head(first.values).sum().backward()
    assert head.weight.grad is not None
    assert all(parameter.grad is None for parameter in frozen.parameters())
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0).step()
    assert all(torch.equal(value, before[key]) for key, value in frozen.state_dict().items())


def test_frozen_passes_the_gradient_to_its_input() -> None:
    frozen = Frozen(small("small_cnn"))
    values = torch.rand(1, 1, 3, 32, 32, requires_grad=True)
    frozen(Modality(values, torch.ones(1, 1, dtype=torch.bool))).values.sum().backward()
    assert values.grad is not None and values.grad.any()


def test_image_tokens_are_the_grid_row_by_row() -> None:
    """A bright square in one corner of one frame changes most the token of that corner of that frame."""
    encoder = small("small_cnn").eval()
    values = torch.zeros(1, 2, 3, 32, 32)
    mask = torch.ones(1, 2, dtype=torch.bool)
    blank = encoder(Modality(values.clone(), mask)).values[0]
    values[0, 1, :, -4:, :4] = 1  # frame 1, bottom left
    change = (encoder(Modality(values, mask)).values[0] - blank).norm(dim=-1)
    assert change.argmax() == 64 + 7 * 8, "8 x 8 tokens a frame: frame 1, row 7, column 0"
    assert not change[:64].any()


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"'resnet9'.*bert.*mel_cnn"):
        build_encoder("resnet9")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("bert", torch.zeros(2, 3), r"float32 .*\(2, 3\).*integer ids"),
        ("bert", torch.zeros(2, 41, dtype=torch.long), "41 tokens.*max_positions 40"),
        ("small_cnn", torch.zeros(2, 3, 32, 32), r"\(2, 3, 32, 32\).*\(B, T, 3, H, W\)"),
        ("mobilenet_v2", torch.zeros(2, 1, 1, 32, 32), r"\(2, 1, 1, 32, 32\)"),
        ("lstm", torch.zeros(2, 900, dtype=torch.int16), "int16.*AudioProcessor"),
        ("mel_cnn", torch.zeros(2, 1, 900), r"\(2, 1, 900\)"),
    ],
)
def test_wrong_shape_is_named(name: str, values: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(name)(Modality(values, torch.ones(values.shape[:2], dtype=torch.bool)))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("bert", {"width": 30, "heads": 4}, "width 30 .* heads 4"),
        ("small_cnn", {"channels": (12,)}, "groups 8"),
        ("mel_cnn", {"channels": ()}, "at least one"),
    ],
)
def test_impossible_sizes_are_named(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_encoder(name, **options)


def test_import_is_light() -> None:
    code = "import sys, mmbook.encoders; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"transformers", "torchvision", "torchaudio", "torchmetrics"} & set(loaded)
