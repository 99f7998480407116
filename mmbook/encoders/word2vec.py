"""Word2Vec: a table with one vector a word, the same wherever the word stands.

Mikolov et al. 2013, "Efficient Estimation of Word Representations in Vector Space",
https://arxiv.org/abs/1301.3781. `skip_gram` trains such a table. Letters in comments: B batch, T tokens,
V words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmbook.modality import Modality
from mmbook.preprocess.text import WordProcessor
from mmbook.registry import register


@register
class Word2Vec(nn.Module):
    """Word ids ``(B, T)`` to one vector a word ``(B, T, width)``, zero where the mask is False.

    Equal to ``torch.nn.Embedding`` at the real tokens. It owns its vocabulary, so it turns text into ids by
    itself: `processor`, which a saved model brings along. Words that it does not know are left out, as in the
    authors' own program. A text without any known word becomes the one id `unknown`, whose vector is zero and
    stays zero: it is a text that says nothing, not a missing one.

    Args:
        vocabulary: V words, each once, lower-case as `mmbook.preprocess.words` gives them; a word's place is
            its id. The id V is `unknown`.
        width: numbers a word, `out_dim`.

    Raises:
        ValueError: no words, or a word that stands there twice.
    """

    reads: ClassVar[str] = "text"
    source: ClassVar[str] = "Mikolov et al. 2013"
    weights: str = "random"

    def __init__(self, vocabulary: Sequence[str], width: int = 100) -> None:
        super().__init__()
        self.processor = WordProcessor(vocabulary)
        self.vocabulary, self.unknown = self.processor.vocabulary, self.processor.unknown
        self.out_dim = width
        # the last row serves the unknown and the padding: torch keeps the gradient of padding_idx at zero
        self.table = nn.Embedding(self.unknown + 1, width, padding_idx=self.unknown)
        with torch.no_grad():  # small, as in the authors' program: what is learned soon outweighs the draw
            self.table.weight.uniform_(-0.5 / width, 0.5 / width)[self.unknown].zero_()

    def forward(self, text: Modality) -> Modality:
        """Ids ``(B, T)`` from 0 to V to vectors ``(B, T, width)``.

        Raises:
            ValueError: ids that are not ``(B, T)`` integers.
        """
        if text.values.dim() != 2 or text.values.is_floating_point():
            raise ValueError(
                f"Word2Vec got {text.values.dtype} values of shape {tuple(text.values.shape)}; it takes "
                f"integer ids (B, T), as Word2Vec.ids and collate make them"
            )
        return Modality(self.table(torch.where(text.mask, text.values, self.unknown)), text.mask)

    def ids(self, text: str) -> Tensor:
        """The known words of `text` as ids ``(T,)`` long, T at least 1: a processor for datasets."""
        return self.processor(text)

    def vector(self, word: str) -> Tensor:
        """The vector ``(width,)`` of one word.

        Raises:
            ValueError: a word that is not in the vocabulary.
        """
        return self.table.weight[self._place(word)].detach()

    def similarity(self, first: str, second: str) -> float:
        """Cosine of the angle between two words' vectors: 1 for one direction, 0 for a right angle."""
        return F.cosine_similarity(self.vector(first), self.vector(second), dim=0).item()

    def neighbours(self, word: str | Tensor, k: int = 10) -> list[tuple[str, float]]:
        """The `k` words closest to a word, itself left out, or to a vector ``(width,)``; with their cosines.

        Raises:
            ValueError: a word that is not in the vocabulary.
        """
        wanted = self.vector(word) if isinstance(word, str) else word
        cosine = F.cosine_similarity(self.table.weight[: self.unknown].detach(), wanted[None], dim=1)  # (V,)
        if isinstance(word, str):
            cosine[self._place(word)] = -torch.inf
        best = cosine.topk(min(k, self.unknown - isinstance(word, str)))
        return [
            (self.vocabulary[i], c) for c, i in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]

    def _place(self, word: str) -> int:
        if word not in self.processor.place:
            raise ValueError(
                f"{word!r} is not among the {self.unknown} words of the vocabulary; they are lower-case and "
                f"come from the texts it was trained on"
            )
        return self.processor.place[word]

    @classmethod
    def from_reference(cls, module: nn.Embedding, vocabulary: Sequence[str]) -> Word2Vec:
        """With the vectors of a ``torch.nn.Embedding`` that has one row for each word, in this order.

        Raises:
            ValueError: another number of rows; an embedding that renormalises its rows, scales its gradients,
                or keeps one at zero.
        """
        variant = {
            name: value
            for name in ("padding_idx", "max_norm", "scale_grad_by_freq", "sparse")
            if (value := getattr(module, name)) is not None and value is not False
        }
        if module.num_embeddings != len(vocabulary) or variant:
            raise ValueError(
                f"this nn.Embedding has {module.num_embeddings} rows for {len(vocabulary)} words, and "
                f"{variant or 'no special options'}; ours needs one row a word, and none of these options"
            )
        model = cls(vocabulary, module.embedding_dim)
        with torch.no_grad():
            model.table.weight[: model.unknown] = module.weight
        return model.train(module.training)
