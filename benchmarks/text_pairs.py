"""Text encoders and their references."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.pair import Pair
from mmbook import Modality, collate
from mmbook.encoders import Bert, Word2Vec

BATCH = 16
WORDS = 20_000


def pairs() -> Iterator[Pair]:
    """BERT at MiniLM's size beside both attentions of transformers; a table of words beside torch's."""
    yield bert("sdpa", 8, 40)
    yield bert("eager", 8, 40)
    yield bert("sdpa", 100, 200)
    yield word2vec()


def bert(attention: str, shortest: int, longest: int) -> Pair:
    """Rows of unequal length, `shortest` to `longest` tokens."""
    from transformers import BertConfig, BertModel

    config = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)
    config._attn_implementation = attention
    theirs = BertModel(config, add_pooling_layer=False)
    ours = Bert.from_reference(theirs)
    text = texts(config.vocab_size, shortest, longest)

    def reference() -> Tensor:
        return theirs(input_ids=text.values, attention_mask=text.mask.long()).last_hidden_state

    what = f"Bert, MiniLM's size, {shortest} to {longest} tokens, against {attention}"
    return Pair(what, ours, partial(tokens, ours, text), theirs, reference, BATCH)


def word2vec() -> Pair:
    theirs = nn.Embedding(WORDS, 100)
    ours = Word2Vec.from_reference(theirs, [str(i) for i in range(WORDS)])
    text = texts(WORDS, 8, 40)
    return Pair("Word2Vec", ours, partial(tokens, ours, text), theirs, partial(theirs, text.values), BATCH)


def texts(words: int, shortest: int, longest: int) -> Modality:
    lengths = torch.randint(shortest, longest + 1, (BATCH,)).tolist()
    batch = collate([{"text": torch.randint(1, words, (length,))} for length in lengths])
    return Modality(batch["text"], batch["text_mask"])


def tokens(encoder: nn.Module, text: Modality) -> Tensor:
    return encoder(text).values
