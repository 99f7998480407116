"""LoRA: nothing changes at first, equal to peft, merged without loss, saved and loaded, small."""

import copy

import pytest
import torch
from torch import nn

from mmbook import Modality, MultimodalModel
from mmbook.book.written.lora import LoRA, LoRALinear, add_lora, merge_lora
from mmbook.encoders import Bert, Pooled
from mmbook.fusion import build_fusion
from mmbook.heads import Classification

RANK, ALPHA = 3, 5.0


def bert():
    torch.manual_seed(0)
    return Bert(
        vocab_size=50,
        width=16,
        layers=2,
        heads=4,
        hidden=32,
        max_positions=12,
        dropout=0.0,
        attention_dropout=0.0,
    )


def text(seed=0):
    g = torch.Generator().manual_seed(seed)
    return Modality(
        torch.randint(1, 50, (3, 7), generator=g), torch.arange(7) < torch.tensor([[7], [4], [1]])
    )


def randomised(module):
    torch.manual_seed(1)
    for name, parameter in module.named_parameters():
        if name.endswith(("up", "down")):
            nn.init.normal_(parameter, std=0.3)
    return module


def test_at_first_nothing_changes_and_only_the_small_matrices_are_trained():
    plain, x = bert().eval(), text()
    ours = LoRA(copy.deepcopy(plain), RANK, ALPHA)
    torch.testing.assert_close(ours(x).values, plain(x).values, rtol=0, atol=0)
    trained = {name: p.numel() for name, p in ours.named_parameters() if p.requires_grad}
    assert sum(trained.values()) == 2 * RANK * (16 + 3 * 16)  # two blocks, (in + out) each
    assert all(name.endswith(("up", "down")) for name in trained)


@pytest.mark.parametrize("targets", ["qkv", "qkv|out|expand|contract", r"blocks\.1\."])
def test_output_and_gradients_equal_pefts(targets):
    from peft import LoraConfig, get_peft_model

    plain, x = bert(), text()
    ours = randomised(LoRA(copy.deepcopy(plain), RANK, ALPHA, targets))
    names = [name for name, layer in ours.encoder.named_modules() if isinstance(layer, LoRALinear)]
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=names)
    theirs = get_peft_model(copy.deepcopy(plain), config)
    pairs = []
    for name in names:
        layer, peer = ours.encoder.get_submodule(name), theirs.base_model.model.get_submodule(name)
        a, b = peer.lora_A["default"].weight, peer.lora_B["default"].weight
        with torch.no_grad():
            a.copy_(layer.down)
            b.copy_(layer.up)
        pairs += [(layer.down, a), (layer.up, b)]
    assert len(pairs) == sum(p.requires_grad for p in theirs.parameters()) > 0
    ours.train(), theirs.train()
    y, z = ours(x).values, theirs(x).values
    torch.testing.assert_close(y, z, rtol=1e-5, atol=1e-6)
    assert (y - plain(x).values).abs().max() > 0.1, "the change should be visible"
    weight = torch.randn_like(y)
    (y * weight).sum().backward()
    (z * weight).sum().backward()
    for mine, other in pairs:
        assert mine.grad.abs().max() > 0
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-5)


def test_merged_it_is_a_plain_encoder_that_says_the_same():
    x = text()
    ours = randomised(LoRA(bert(), RANK, ALPHA, "qkv|expand")).eval()
    before = ours(x).values
    merged = ours.merged()
    assert not [m for m in merged.modules() if isinstance(m, LoRALinear)]
    assert {n: p.shape for n, p in merged.named_parameters()} == {
        n: p.shape for n, p in bert().named_parameters()
    }
    torch.testing.assert_close(merged(x).values, before, rtol=1e-5, atol=1e-6)


def test_a_layer_without_bias_and_dropout_on_the_way_down_only():
    torch.manual_seed(0)
    plain = nn.Linear(6, 4, bias=False)
    layer = randomised(LoRALinear(copy.deepcopy(plain), 2, 2.0, dropout=0.5))
    x = torch.randn(500, 6)
    change = layer.train()(x) - plain(x)
    assert change.abs().max() > 0
    expected = layer.eval()(x) - plain(x)
    torch.testing.assert_close(expected, x @ layer.down.T @ layer.up.T, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(change, expected)
    torch.testing.assert_close(layer.merged()(x), layer(x), rtol=1e-4, atol=1e-5)


def test_a_model_with_it_is_saved_and_loaded(tmp_path):
    fusion = build_fusion("concat", {"text": 16}, 8)
    model = MultimodalModel({"text": Pooled(LoRA(bert(), RANK, ALPHA))}, fusion, Classification(8, 2)).eval()
    randomised(model)
    model.save_pretrained(tmp_path)
    again, x = MultimodalModel.from_pretrained(tmp_path), text()
    batch = {"text": x.values, "text_mask": x.mask}
    torch.testing.assert_close(again(**batch).logits, model(**batch).logits, rtol=0, atol=0)
    same = {n for n, p in again.named_parameters() if p.requires_grad}
    assert same == {n for n, p in model.named_parameters() if p.requires_grad}


def test_training_leaves_the_frozen_weights_alone():
    ours, x = LoRA(bert(), RANK, ALPHA), text()
    before = {n: p.clone() for n, p in ours.named_parameters()}
    optimiser = torch.optim.SGD([p for p in ours.parameters() if p.requires_grad], 0.1)
    weight = torch.randn_like(ours(x).values)
    for _ in range(2):  # in the first step only `up` moves, as it is zero
        optimiser.zero_grad()
        (ours(x).values * weight).sum().backward()
        optimiser.step()
    moved = {n for n, p in ours.named_parameters() if not torch.equal(p, before[n])}
    assert moved == {n for n, p in ours.named_parameters() if n.endswith(("up", "down"))}


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match=r"'query'.*blocks\.0\.attention\.qkv"):
        add_lora(bert(), targets="query")
    with pytest.raises(ValueError, match="rank is 0"):
        LoRALinear(nn.Linear(2, 2), 0, 1.0)
    assert merge_lora(plain := bert()) is plain
