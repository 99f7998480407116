"""Our BERT against transformers.BertModel: outputs, gradients, the real MiniLM weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mmbook import Modality, assets, collate
from mmbook.encoders import Bert
from mmbook.encoders.bert import our_weights
from mmbook.preprocess import TextProcessor

SENTENCES = [
    "A gorgeous, witty, seductive movie.",
    "It's a lovely film with lovely performances by Buy and Accorsi.",
    "Simplistic, silly and tedious.",
    "No.",
    "The story gives ample opportunity for large-scale action and suspense, which director Shekhar Kapur "
    "supplies with tremendous skill.",
    "",
]


def reference(seed: int = 0, dropout: float = 0.0, **sizes: Any) -> Any:
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    config = BertConfig(hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout, **sizes)
    module = BertModel(config)
    for parameter in module.parameters():
        if parameter.dim() == 1:  # gains of one and biases of zero would hide a swap
            with torch.no_grad():
                parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def random_text(vocab_size: int, lengths: list[int]) -> Modality:
    torch.manual_seed(1)
    batch = collate([{"text": torch.randint(1, vocab_size, (length,))} for length in lengths])
    return Modality(batch["text"], batch["text_mask"])


def expected_tokens(module: Any, text: Modality) -> Tensor:
    return module(input_ids=text.values, attention_mask=text.mask.long()).last_hidden_state


def bert_size(vocab: int, width: int, layers: int, heads: int, hidden: int, **more: Any) -> dict[str, Any]:
    sizes = {"vocab_size": vocab, "hidden_size": width, "num_hidden_layers": layers}
    return sizes | {"num_attention_heads": heads, "intermediate_size": hidden} | more


SIZES = [
    bert_size(60, 16, 1, 1, 32),
    bert_size(99, 48, 3, 4, 100, max_position_embeddings=20, type_vocab_size=1, layer_norm_eps=1e-5),
    bert_size(500, 128, 12, 2, 512, pad_token_id=3),
]
MINILM = bert_size(30522, 384, 6, 12, 1536)


@pytest.mark.parametrize("sizes", SIZES)
def test_equals_transformers_in_eval(sizes: dict[str, Any]) -> None:
    theirs = reference(dropout=0.1, **sizes).eval()
    ours = Bert.from_reference(theirs)
    assert not ours.training
    text = random_text(sizes["vocab_size"], [9, 4, 17, 1])
    expected = expected_tokens(theirs, text)
    torch.testing.assert_close(ours(text).values[text.mask], expected[text.mask], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("sizes", SIZES)
def test_gradients_equal_transformers(sizes: dict[str, Any]) -> None:
    # In float64: these gradients reach some hundreds, and in float32 another order of summation alone moves
    # them by 1e-4, more than the small ones are worth. In float64 it moves them by 4e-13.
    theirs = reference(**sizes).train()
    ours = Bert.from_reference(theirs).double()
    theirs.double()
    assert ours.training
    text = random_text(sizes["vocab_size"], [9, 4, 17, 1])
    weight = torch.randn(text.mask.sum(), ours.out_dim, dtype=torch.float64)
    (ours(text).values[text.mask] * weight).sum().backward()
    (expected_tokens(theirs, text)[text.mask] * weight).sum().backward()
    # the pooler, which has no gradient here, is the only part without one
    expected = our_weights({n: p.grad for n, p in theirs.named_parameters() if not n.startswith("pooler.")})
    found = {name: parameter.grad for name, parameter in ours.named_parameters()}
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(
            gradient, expected[name], atol=1e-9, rtol=1e-9, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_a_weight_that_is_not_used_stops_the_load() -> None:
    theirs = reference(**SIZES[0])
    weights = dict(theirs.state_dict())
    weights["encoder.layer.0.adapter.weight"] = torch.zeros(2)
    with pytest.raises(RuntimeError, match=r"Unexpected.*blocks\.0\.adapter\.weight"):
        Bert.from_reference(theirs).load_state_dict(our_weights(weights))
    del weights["encoder.layer.0.adapter.weight"], weights["encoder.layer.0.output.dense.bias"]
    with pytest.raises(RuntimeError, match=r"Missing.*blocks\.0\.contract\.bias"):
        Bert.from_reference(theirs).load_state_dict(our_weights(weights))


def test_another_kind_of_bert_is_refused() -> None:
    with pytest.raises(ValueError, match="hidden_act='relu'"):
        Bert.from_reference(reference(hidden_act="relu", **SIZES[0]))


@pytest.mark.parametrize("pooler", [True, False])
def test_from_pretrained_reads_what_transformers_saved(tmp_path: Path, pooler: bool) -> None:
    """Of a folder here; a name on the hub goes the same way. The folder may hold a pooler or not."""
    from transformers import BertModel

    theirs = BertModel(reference(**SIZES[1]).config, add_pooling_layer=pooler).eval()
    theirs.save_pretrained(tmp_path)
    ours = Bert.from_pretrained(str(tmp_path))
    assert not ours.training and ours.weights == "pretrained"
    text = random_text(SIZES[1]["vocab_size"], [9, 4, 17, 1])
    expected = expected_tokens(theirs, text)
    torch.testing.assert_close(ours(text).values[text.mask], expected[text.mask], atol=1e-5, rtol=1e-5)


def test_order_matters() -> None:
    """Without positions, attention is blind to the order of the words."""
    ours = Bert.from_reference(reference(**SIZES[1])).eval()
    mask = torch.ones(1, 3, dtype=torch.bool)
    forth, back = Modality(torch.tensor([[5, 6, 7]]), mask), Modality(torch.tensor([[7, 6, 5]]), mask)
    assert not torch.allclose(ours(forth).pooled(), ours(back).pooled(), atol=1e-3)
    with torch.no_grad():
        ours.positions.weight.zero_()
    torch.testing.assert_close(ours(forth).pooled(), ours(back).pooled())


@pytest.fixture(scope="module")
def minilm() -> Bert:
    return Bert.minilm()


@pytest.fixture(scope="module")
def texts() -> Modality:
    process = TextProcessor()
    batch = collate([{"text": process(sentence)} for sentence in SENTENCES])
    return Modality(batch["text"], batch["text_mask"])


def test_minilm_equals_transformers_on_real_sentences(minilm: Bert, texts: Modality) -> None:
    from safetensors.torch import load_file

    theirs = reference(**MINILM).eval()
    # position_ids is 0, 1, 2, ...; transformers no longer keeps it among the weights
    weights = {k: v for k, v in load_file(assets.path("minilm")).items() if k != "embeddings.position_ids"}
    theirs.load_state_dict(weights, strict=True)
    with torch.no_grad():
        expected = expected_tokens(theirs, texts)
        found = minilm(texts)
        embedding = minilm.sentence_embedding(texts)
    torch.testing.assert_close(found.values[texts.mask], expected[texts.mask], atol=1e-5, rtol=1e-5)
    # sentence-transformers: mean over the tokens of the attention mask, then divided by the length
    weight = texts.mask[..., None].float()
    mean = (expected * weight).sum(1) / weight.sum(1)
    torch.testing.assert_close(embedding, torch.nn.functional.normalize(mean), atol=1e-5, rtol=1e-5)


def test_minilm_puts_like_sentences_close(minilm: Bert) -> None:
    process = TextProcessor()
    rows = ["A man is playing a guitar.", "Someone plays an instrument.", "The stock market fell sharply."]
    batch = collate([{"text": process(row)} for row in rows])
    with torch.no_grad():
        music, instrument, market = minilm.sentence_embedding(Modality(batch["text"], batch["text_mask"]))
    assert music @ instrument > 0.4 > 0.2 > music @ market


def test_embedding_of_a_missing_text_is_zero(minilm: Bert) -> None:
    text = Modality(torch.full((2, 3), 101), torch.tensor([[True, True, True], [False, False, False]]))
    with torch.no_grad():
        present, missing = minilm.sentence_embedding(text)
    torch.testing.assert_close(present.norm(), torch.tensor(1.0))
    assert not missing.any()
