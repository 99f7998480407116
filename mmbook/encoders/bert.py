"""BERT: a stack of Transformer encoder blocks over word pieces.

Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding",
https://aclanthology.org/N19-1423. Letters in comments: B batch, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from mmbook.encoders.reference import options_of, renamed
from mmbook.modality import Modality
from mmbook.moved import moved_names
from mmbook.registry import register


class MultiHeadAttention(nn.Module):
    """Every token looks at every real token of its row: softmax(Q Kᵀ / √d) V, in several heads."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(
                f"width {width} is not a multiple of heads {heads}; each head gets width / heads numbers"
            )
        self.heads = heads
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width)  # the three projections in one product: faster than three
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, attend: Tensor | None = None) -> Tensor:
        """`x` ``(B, T, D)``; `attend` ``(B, 1, 1, T)`` bool, True where one may look; None for anywhere."""
        # (B, T, 3 D) -> (B, T, 3, heads, D/heads) -> three of (B, heads, T, D/heads)
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=attend, dropout_p=dropout)
        return self.out(y.transpose(1, 2).flatten(2))  # (B, heads, T, D/heads) -> (B, T, D)


class PostNormBlock(nn.Module):
    """Attention, then a two-layer perceptron on each token; each added to its input, then normalised."""

    def __init__(
        self, width: int, heads: int, hidden: int, dropout: float, attention_dropout: float, eps: float
    ) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(width, heads, attention_dropout)
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, attend: Tensor) -> Tensor:
        x = self.attention_norm(x + self.dropout(self.attention(x, attend)))
        return self.norm(x + self.dropout(self.contract(F.gelu(self.expand(x)))))


@register
class Bert(nn.Module):
    """Word-piece ids ``(B, T)`` to one vector a token ``(B, T, width)``, zero where the mask is False.

    Equal to ``transformers.BertModel(...).last_hidden_state`` at the real tokens. The pooler, which belongs
    to next-sentence prediction and not to the encoder, is left out.

    Args:
        vocab_size: number of word pieces.
        width: numbers a token, `out_dim`.
        layers, heads: blocks, and attention heads in each.
        hidden: width inside the perceptron of a block.
        max_positions: longest text, in tokens.
        segments: rows of the segment table. A text here is one segment, so only the first row is used.
        dropout, attention_dropout: probabilities, on the additions and on the attention weights.
        pad_id: the word piece whose vector starts at zero and gets no gradient; None for no such piece.
        eps: added to the variance in layer norm.

    The defaults are the size of MiniLM-L6 (22.6 M parameters).
    """

    reads: ClassVar[str] = "text"
    source: ClassVar[str] = "Devlin et al. 2019"
    weights: str = "random"

    def __init__(
        self,
        vocab_size: int = 30522,
        width: int = 384,
        layers: int = 6,
        heads: int = 12,
        hidden: int = 1536,
        max_positions: int = 512,
        segments: int = 2,
        dropout: float = 0.1,
        attention_dropout: float = 0.1,
        pad_id: int | None = 0,
        eps: float = 1e-12,
    ) -> None:
        super().__init__()
        self.out_dim = width
        self.words = nn.Embedding(vocab_size, width, padding_idx=pad_id)
        self.positions = nn.Embedding(max_positions, width)
        self.segments = nn.Embedding(segments, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            PostNormBlock(width, heads, hidden, dropout, attention_dropout, eps) for _ in range(layers)
        )
        self.apply(_initialise)

    def forward(self, text: Modality) -> Modality:
        """Ids ``(B, T)`` long, T at most `max_positions`, to token features ``(B, T, width)``.

        Raises:
            ValueError: ids that are not ``(B, T)`` integers; a text that is too long.
        """
        ids, mask = text
        if ids.dim() != 2 or ids.is_floating_point():
            raise ValueError(
                f"Bert got {ids.dtype} values of shape {tuple(ids.shape)}; it takes integer ids (B, T), "
                f"as TextProcessor and collate make them"
            )
        if ids.shape[1] > self.positions.num_embeddings:
            raise ValueError(
                f"a text of {ids.shape[1]} tokens is longer than max_positions "
                f"{self.positions.num_embeddings}; lower TextProcessor's max_length"
            )
        ids = text.cleaned().values
        # softmax over nothing is 0 / 0, which only some of torch's kernels catch: a row without a text looks
        # at its own padding, and is blanked at the end
        attend = (mask | ~text.mask.any(dim=1, keepdim=True))[:, None, None, :]  # (B, 1, 1, T)
        x = self.words(ids) + self.segments.weight[0] + self.positions.weight[: ids.shape[1]]
        x = self.dropout(self.norm(x))
        for block in self.blocks:
            x = block(x, attend)
        return Modality(x, mask).cleaned()

    def sentence_embedding(self, text: Modality) -> Tensor:
        """One unit vector a text ``(B, width)``: the mean over its real tokens, divided by its length.

        With the MiniLM weights this is the embedding of sentence-transformers (Reimers and Gurevych 2019,
        https://aclanthology.org/D19-1410), whose dot product is the cosine similarity. Zero where there is no
        text.
        """
        return F.normalize(self(text).pooled(), dim=-1)

    @classmethod
    def from_reference(cls, module: Any) -> Bert:
        """A copy of a ``transformers.BertModel``, with its weights, in its training or evaluation mode.

        Raises:
            ValueError: a BERT of another kind (activation, decoder).
        """
        c = module.config
        if c.hidden_act != "gelu" or getattr(c, "is_decoder", False):
            raise ValueError(
                f"this BertModel has hidden_act={c.hidden_act!r}, "
                f"is_decoder={getattr(c, 'is_decoder', False)}; ours is an encoder with 'gelu'"
            )
        model = cls(
            **options_of(
                c,
                vocab_size="vocab_size",
                max_positions="max_position_embeddings",
                segments="type_vocab_size",
                pad_id="pad_token_id",
            )
        )
        model.load_state_dict(our_weights(module.state_dict()))
        return model.train(module.training)

    @classmethod
    def minilm(cls) -> Bert:
        """all-MiniLM-L6-v2: six layers of width 384, distilled and then trained to embed sentences.

        Wang et al. 2020, https://arxiv.org/abs/2002.10957. The weights come from
        ``mmbook.assets.path("minilm")`` (91 MB, Apache 2.0); every tensor in the file is used or is one of
        the three that an encoder lacks.
        """
        from safetensors.torch import load_file

        from mmbook import assets

        model = cls()
        model.load_state_dict(our_weights(load_file(assets.path("minilm"))))
        model.weights = "pretrained"
        return model.eval()

    @classmethod
    def from_pretrained(cls, name: str = "google-bert/bert-base-uncased") -> Bert:
        """The encoder of any BERT on the Hugging Face hub, or in a folder made by its ``save_pretrained``.

        Args:
            name: of the model on the hub, or a path. BERT-base has 110 M parameters, 440 MB. MiniLM's word
                pieces are BERT-base's, so the default `mmbook.preprocess.TextProcessor` serves both.

        Raises:
            OSError: no such model, or no way to the hub.
            ValueError: a BERT of another kind, as for `from_reference`.
        """
        from transformers import BertModel

        model = cls.from_reference(BertModel.from_pretrained(name, add_pooling_layer=False))
        model.weights = "pretrained"
        return model.eval()


def _initialise(module: nn.Module) -> None:
    """Normal weights of deviation 0.02, as in the paper; biases zero."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        nn.init.zeros_(module.weight[module.padding_idx].detach())


# What transformers calls a thing, and what it is called here.
_NAMES = {
    r"^embeddings\.word_embeddings\.": "words.",
    r"^embeddings\.position_embeddings\.": "positions.",
    r"^embeddings\.token_type_embeddings\.": "segments.",
    r"^embeddings\.LayerNorm\.": "norm.",
    r"^encoder\.layer\.": "blocks.",
    r"\.attention\.self\.": ".attention.",
    r"\.attention\.output\.dense\.": ".attention.out.",
    r"\.attention\.output\.LayerNorm\.": ".attention_norm.",
    r"\.intermediate\.dense\.": ".expand.",
    r"\.output\.dense\.": ".contract.",
    r"\.output\.LayerNorm\.": ".norm.",
}


def our_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a ``transformers.BertModel`` (weights or gradients) under our names."""
    return renamed(
        weights, _NAMES, r"^pooler\.dense\.|^embeddings\.position_ids$", qkv=("query", "key", "value")
    )


__getattr__ = moved_names(__name__)
