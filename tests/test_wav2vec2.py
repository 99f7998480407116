"""Our wav2vec 2.0 against transformers.Wav2Vec2Model: both kinds, padded and not, outputs and gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmbook import Modality, collate
from mmbook.encoders import Wav2Vec2
from mmbook.encoders.wav2vec2 import our_weights

TINY = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "conv_dim": (12, 16, 16),
    "conv_kernel": (10, 3, 2),
    "conv_stride": (5, 2, 2),
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
}
# odd kernel of positions, one group, as many layers as heads; the paper's convolutions, narrower
ODD = TINY | {
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "conv_bias": True,
    "num_conv_pos_embeddings": 7,
    "num_conv_pos_embedding_groups": 1,
    "layer_norm_eps": 1e-3,
}
DEEP = TINY | {
    "hidden_size": 64,
    "num_hidden_layers": 12,
    "conv_dim": (32,) * 7,
    "conv_kernel": (10, 3, 3, 3, 3, 2, 2),
    "conv_stride": (5, 2, 2, 2, 2, 2, 2),
    "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
}
SIZES = {"tiny": TINY, "odd": ODD, "deep": DEEP}
TOLERANCE = {"tiny": 1e-5, "odd": 1e-5, "deep": 1e-4}
LARGE = [{"feat_extract_norm": "layer", "do_stable_layer_norm": stable} for stable in (False, True)]
DROPOUTS = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "layerdrop")


def reference(seed: int = 0, dropout: float = 0.0, **sizes: Any) -> Any:
    """With all norms and biases random: at one and zero, swapping two of them would not show."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    torch.manual_seed(seed)
    options = dict.fromkeys(DROPOUTS, dropout) | {"mask_time_prob": 0.0} | sizes
    model = Wav2Vec2Model(Wav2Vec2Config(**options))
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.LayerNorm | nn.GroupNorm):
                module.weight.uniform_(0.5, 1.5)
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.2)
    return model


def sounds(*lengths: int, dtype: torch.dtype = torch.float32) -> Modality:
    torch.manual_seed(1)
    batch = collate([{"audio": 0.3 * torch.randn(length) + 0.05} for length in lengths])
    return Modality(batch["audio"].to(dtype), batch["audio_mask"])


def expected_tokens(module: Any, audio: Modality) -> Tensor:
    return module(audio.values, attention_mask=audio.mask.long()).last_hidden_state


@pytest.mark.parametrize("kind", LARGE, ids=["post-norm", "pre-norm"])
@pytest.mark.parametrize("size", SIZES)
def test_layer_norm_kind_equals_transformers_on_padded_batches(size: str, kind: dict[str, Any]) -> None:
    theirs = reference(dropout=0.1, **SIZES[size], **kind).eval()
    ours = Wav2Vec2.from_reference(theirs)
    assert not ours.training
    audio = sounds(4000, 977, 2345, 400)
    with torch.no_grad():
        found, expected = ours(audio), expected_tokens(theirs, audio)
    counts = theirs._get_feat_extract_output_lengths(audio.mask.sum(dim=1))
    assert torch.equal(found.mask.sum(dim=1), counts), "as many tokens as the reference"
    difference = TOLERANCE[size]
    torch.testing.assert_close(
        found.values[found.mask], expected[found.mask], atol=difference, rtol=difference
    )


@pytest.mark.parametrize("stable", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_group_norm_kind_equals_transformers_sample_by_sample(size: str, stable: bool) -> None:
    theirs = reference(**SIZES[size], feat_extract_norm="group", do_stable_layer_norm=stable).eval()
    ours = Wav2Vec2.from_reference(theirs)
    audio = sounds(4000, 977, 2345, 400)
    difference = TOLERANCE[size]
    with torch.no_grad():
        found = ours(audio)  # in one padded batch, against theirs alone
        for row, length in enumerate((4000, 977, 2345, 400)):
            expected = theirs(audio.values[row : row + 1, :length]).last_hidden_state[0]
            tokens = found.values[row][found.mask[row]]
            torch.testing.assert_close(tokens, expected, atol=difference, rtol=difference)


def test_the_group_norm_reference_reads_its_padding_and_ours_does_not() -> None:
    theirs = reference(**TINY).eval()
    ours = Wav2Vec2.from_reference(theirs)
    short, padded = sounds(977), sounds(977, 4000)
    assert torch.equal(short.values[0], padded.values[0, :977])
    with torch.no_grad():
        N = ours(short).values.shape[1]
        moved = (expected_tokens(theirs, short)[0] - expected_tokens(theirs, padded)[0, :N]).abs().max()
        assert moved > 0.1
        torch.testing.assert_close(ours(short).values[0], ours(padded).values[0, :N], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [*LARGE, {}], ids=["post-norm", "pre-norm", "group"])
@pytest.mark.parametrize("size", SIZES)
def test_gradients_equal_transformers(size: str, kind: dict[str, Any]) -> None:
    """In float64, where the order of summation does not show; padded where the reference is blind to it."""
    theirs = reference(**SIZES[size], **kind).train()
    ours = Wav2Vec2.from_reference(theirs).double()
    theirs.double()
    assert ours.training
    with torch.no_grad():  # folded from the factors in float64
        ours.positions.weight.copy_(theirs.encoder.pos_conv_embed.conv.weight)
    audio = sounds(*((1900, 977, 1201) if kind else (977,)), dtype=torch.float64)
    found = ours(audio)
    weight = torch.randn(found.mask.sum(), ours.out_dim, dtype=torch.float64)
    (found.values[found.mask] * weight).sum().backward()
    # the product of the weight norm's factors, at which the two gradients meet
    norm = theirs.encoder.pos_conv_embed.conv.parametrizations.weight[0]
    factors: list[Tensor] = []

    def keep(_: nn.Module, __: Any, product: Tensor) -> None:
        product.retain_grad()
        factors.append(product)

    handle = norm.register_forward_hook(keep)
    (expected_tokens(theirs, audio)[found.mask] * weight).sum().backward()
    handle.remove()
    gradients = {name: p.grad for name, p in theirs.named_parameters() if ".parametrizations." not in name}
    gradients["encoder.pos_conv_embed.conv.weight"] = factors[-1].grad
    expected = our_weights(gradients)
    assert {name for name, _ in ours.named_parameters()} == expected.keys()
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(
            parameter.grad, expected[name], atol=1e-8, rtol=1e-8, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_gradients_of_a_padded_group_norm_batch_are_those_of_its_rows() -> None:
    torch.manual_seed(0)
    ours = Wav2Vec2.from_reference(reference(**TINY)).train().double()
    audio = sounds(1900, 977, 120, dtype=torch.float64)
    parameters = list(ours.parameters())
    together = torch.autograd.grad(ours(audio).values.square().sum(), parameters)
    rows = [Modality(v[m][None], m[m][None]) for v, m in zip(*audio, strict=True)]
    alone = torch.autograd.grad(sum(ours(row).values.square().sum() for row in rows), parameters)
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("kind", [*LARGE, {}], ids=["post-norm", "pre-norm", "group"])
def test_short_and_missing_sounds(kind: dict[str, Any]) -> None:
    """Filled up with silence to one token; nothing gives nothing; neighbours do not notice."""
    ours = Wav2Vec2.from_reference(reference(**TINY, **kind), normalise=True).eval()
    audio = sounds(ours.field - 1, 1, 900)
    missing = Modality(audio.values, audio.mask & torch.tensor([[True], [False], [True]]))
    found, less = ours(audio), ours(missing)
    counts = found.mask.sum(dim=1).tolist()
    assert counts[:2] == [1, 1] and less.mask.sum(dim=1).tolist() == [1, 0, counts[2]]
    torch.testing.assert_close(found.values[[0, 2]], less.values[[0, 2]], atol=1e-6, rtol=1e-6)
    assert ours(sounds(ours.field + 1)).mask.shape == (1, 1)
    assert ours(sounds(3)).values.isfinite().all()


def test_normalising_equals_the_feature_extractor() -> None:
    from transformers import Wav2Vec2FeatureExtractor

    audio = sounds(1900, 977, 120)
    raw = [row[mask].numpy() for row, mask in zip(*audio, strict=True)]
    extract = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    expected = extract(raw, padding=True, sampling_rate=16000, return_tensors="np")
    found = Wav2Vec2.from_reference(reference(**TINY), normalise=True).samples(audio)
    np.testing.assert_allclose(found.values, expected["input_values"], atol=1e-5)
    assert (found.mask.numpy() == expected["attention_mask"]).all()


def test_normalising_makes_it_deaf_to_loudness() -> None:
    ours = Wav2Vec2.from_reference(reference(**TINY), normalise=True).eval()
    audio = sounds(1900, 977)
    louder = Modality(7 * audio.values + 0.2, audio.mask)
    torch.testing.assert_close(ours(louder).values, ours(audio).values, atol=1e-4, rtol=1e-4)


def test_saved_by_transformers_loaded_by_us(tmp_path: Path) -> None:
    from transformers import Wav2Vec2FeatureExtractor

    theirs = reference(**TINY, feat_extract_norm="layer").eval()
    theirs.save_pretrained(tmp_path)
    audio = sounds(1900, 977)
    for normalise in (False, True):
        Wav2Vec2FeatureExtractor(do_normalize=normalise).save_pretrained(tmp_path)
        ours = Wav2Vec2.from_pretrained(str(tmp_path))
        assert ours.normalise is normalise and not ours.training and ours.weights == "pretrained"
        expected = expected_tokens(theirs, ours.samples(audio))
        found = ours(audio)
        torch.testing.assert_close(found.values[found.mask], expected[found.mask], atol=1e-5, rtol=1e-5)


def test_defaults_are_the_base_model() -> None:
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    with torch.device("meta"):
        ours, theirs = Wav2Vec2(), Wav2Vec2Model(Wav2Vec2Config())
        weights = dict(theirs.state_dict())
        weights["encoder.pos_conv_embed.conv.weight"] = theirs.encoder.pos_conv_embed.conv.weight
    shapes = {name: tensor.shape for name, tensor in our_weights(weights).items()}
    assert shapes == {name: tensor.shape for name, tensor in ours.state_dict().items()}
    assert ours.field == 400


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_act": "relu"}, "'hidden_act': 'relu'"),
        ({"feat_extract_activation": "relu"}, "'feat_extract_activation': 'relu'"),
        ({"add_adapter": True}, "'add_adapter': True"),
        ({"do_stable_layer_norm": True, "adapter_attn_dim": 4}, "'adapter_attn_dim': 4"),
    ],
)
def test_other_kinds_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Wav2Vec2.from_reference(reference(**TINY | options))


def test_a_weight_that_is_not_used_stops_the_load() -> None:
    theirs = reference(**TINY)
    weights = dict(theirs.state_dict()) | {"encoder.layers.0.adapter.weight": torch.zeros(2)}
    with pytest.raises(RuntimeError, match=r"(?s)Missing.*positions\.weight.*Unexpected.*blocks\.0\.adapter"):
        Wav2Vec2.from_reference(theirs).load_state_dict(our_weights(weights))


def test_impossible_sizes_and_sounds_are_named() -> None:
    with pytest.raises(ValueError, match=r"norm is 'batch'; choose one of group, layer"):
        Wav2Vec2(norm="batch")
    with pytest.raises(ValueError, match="7 channels, 2 kernels, 7 strides"):
        Wav2Vec2(kernels=(10, 3))
    ours = Wav2Vec2.from_reference(reference(**TINY))
    with pytest.raises(ValueError, match=r"int16 values of shape \(2, 9\)"):
        ours(Modality(torch.zeros(2, 9, dtype=torch.int16), torch.ones(2, 9, dtype=torch.bool)))
    with pytest.raises(ValueError, match="at the end of the row"):
        ours(Modality(torch.zeros(1, 9), torch.arange(9)[None] > 2))
