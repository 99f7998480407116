"""Skip-gram with negative sampling: word vectors from guessing which words stand near which.

Mikolov et al. 2013, "Distributed Representations of Words and Phrases and their Compositionality",
https://arxiv.org/abs/1310.4546. Letters in comments: P pairs, N noise words, T tokens, D width, V words.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbook.encoders.word2vec import Word2Vec
from mmbook.preprocess.text import words

log = logging.getLogger(__name__)

BLOCK = 1000  # tokens a step
NOISE = 64  # noise words a step, shared by its pairs
TEXTS = 2000  # drawn, thinned out and joined at a time


def skip_gram_loss(centre: Tensor, context: Tensor, noise: Tensor, negatives: float) -> Tensor:
    """The loss of P pairs, summed: a word should point towards its neighbours and away from noise.

    ``-log sigmoid(centre · context) - negatives * mean over noise of log sigmoid(-centre · noise)``. The
    paper draws `negatives` noise words for each pair. Here all pairs share the same N, each with the weight
    ``negatives / N``: the same in expectation, and one matrix product instead of P small ones (Ji et al.
    2016, https://arxiv.org/abs/1604.04661).

    Args:
        centre: ``(P, D)`` vectors of the words in the middle.
        context: ``(P, D)`` vectors of their neighbours, from a table of their own.
        noise: ``(N, D)`` from the same table as `context`.
        negatives: noise words for a pair.
    """
    near = F.softplus(-(centre * context).sum(dim=1))  # -log sigmoid(s) = softplus(-s)
    far = F.softplus(centre @ noise.T).mean(dim=1)
    return (near + negatives * far).sum()


class Gradients(NamedTuple):
    """Of `skip_gram_loss` over the pairs of one block: ``(T, D)``, ``(T, D)`` and ``(N, D)``."""

    centre: Tensor
    context: Tensor
    noise: Tensor


def gradients(
    centre: Tensor, context: Tensor, noise: Tensor, negatives: float, text: Tensor, reach: Tensor
) -> Gradients:
    """The gradients of all pairs of a block of running text, written out.

    Each token is the middle of several pairs and the neighbour in several others. Going through the distances
    1, 2, ... instead of the pairs, every vector is fetched once and not once a pair; that is several times as
    fast as autograd over the pairs.

    Args:
        centre, context: ``(T, D)`` the two vectors of each token.
        noise, negatives: as for `skip_gram_loss`.
        text: ``(T,)`` number of the text that a token is from; pairs do not cross its borders.
        reach: ``(T,)`` how far a token in the middle looks to each side.
    """
    g_centre, g_context = torch.zeros_like(centre), torch.zeros_like(context)
    count = torch.zeros(len(text), 1)  # pairs of which a token is the middle
    furthest = min(int(reach.max()), len(text) - 1) if len(text) else 0
    for d in range(1, furthest + 1):
        together = text[:-d] == text[d:]
        early, late = slice(None, -d), slice(d, None)
        for middle, near in ((early, late), (late, early)):
            real = (together & (reach[middle] >= d))[:, None].float()
            score = (centre[middle] * context[near]).sum(dim=1, keepdim=True)
            slope = -torch.sigmoid(-score) * real  # of softplus(-score)
            g_centre[middle] += slope * context[near]
            g_context[near] += slope * centre[middle]
            count[middle] += real
    slope = torch.sigmoid(centre @ noise.T) * (count * negatives / len(noise))  # (T, N)
    return Gradients(g_centre.addmm_(slope, noise), g_context, slope.T @ centre)


def skip_gram(
    texts: Iterable[str],
    width: int = 100,
    *,
    window: int = 5,
    negatives: int = 5,
    epochs: int = 6,
    min_count: int = 10,
    subsample: float = 1e-4,
    lr: float = 0.3,
    seed: int = 0,
) -> Word2Vec:
    """Train word vectors on running text; on one CPU thread some two million pairs a second.

    Args:
        texts: each one string; word pairs do not cross from one to the next.
        width: numbers a word.
        window: a word in the middle looks at up to this many words to each side; how far, from 1 on, is drawn
            for each anew, so near words count more.
        negatives: noise words for a pair, drawn in proportion to ``count ** 0.75``.
        epochs: passes over the texts.
        min_count: rarer words are left out of the vocabulary and of the texts.
        subsample: a word that is the share f of all words stays with probability ``sqrt(subsample / f)``, at
            most 1, drawn anew in each pass: else half of all pairs would be about "the".
        lr: learning rate of Adagrad (Duchi et al. 2011, https://jmlr.org/papers/v12/duchi11a.html) with one
            scale for each row of a table; it falls linearly to zero.
        seed: of every draw.

    Returns:
        The vectors of the words in the middle, as an encoder; most frequent word first.

    Raises:
        ValueError: no word occurs `min_count` times.
    """
    corpus = [words(text) for text in texts]
    counted = Counter(word for text in corpus for word in text)
    vocabulary = [word for word, n in counted.most_common() if n >= min_count]
    if not vocabulary:
        raise ValueError(
            f"no word occurs min_count={min_count} times in {len(corpus)} texts; lower it, or give more text"
        )
    place = {word: i for i, word in enumerate(vocabulary)}
    ids = [torch.tensor([place[w] for w in text if w in place], dtype=torch.long) for text in corpus]
    share = torch.tensor([counted[word] for word in vocabulary], dtype=torch.float64)
    share /= share.sum()
    keep = (subsample / share).sqrt().clamp(max=1)
    noise = share**0.75
    random = torch.Generator().manual_seed(seed)
    size = (len(vocabulary), width)
    tables = [torch.empty(size).uniform_(-0.5 / width, 0.5 / width, generator=random), torch.zeros(size)]
    scales = [torch.full((len(vocabulary), 1), 1e-6) for _ in tables]
    for epoch in range(epochs):
        for done, (token, text) in _blocks(ids, keep, random):
            reach = torch.randint(1, window + 1, token.shape, generator=random)
            drawn = noise.multinomial(NOISE, replacement=True, generator=random)
            parts = [(0, token), (1, token), (1, drawn)]  # which table, which rows
            centre, context, other = (tables[t][rows] for t, rows in parts)
            slopes = gradients(centre, context, other, negatives, text, reach)
            rate = lr * (1 - (epoch + done) / epochs)
            for (t, rows), slope in zip(parts, slopes, strict=True):
                scales[t].index_add_(0, rows, slope.square().mean(dim=1, keepdim=True))
                tables[t].index_add_(0, rows, slope / scales[t][rows].sqrt(), alpha=-rate)
        log.info("epoch %d of %d", epoch + 1, epochs)
    model = Word2Vec(vocabulary, width)
    with torch.no_grad():
        model.table.weight[: model.unknown] = tables[0]
    return model.eval()


def _blocks(
    ids: list[Tensor], keep: Tensor, random: torch.Generator
) -> Iterator[tuple[float, tuple[Tensor, Tensor]]]:
    """Running text in blocks, texts in random order, frequent words thinned out.

    Yields:
        The share of the pass that is done, and the block: its tokens ``(T,)`` and the text of each.
    """
    order = torch.randperm(len(ids), generator=random).tolist()
    for start in range(0, len(order), TEXTS):
        some = [ids[i] for i in order[start : start + TEXTS]]
        token = torch.cat(some)
        text = torch.arange(len(some)).repeat_interleave(torch.tensor([len(one) for one in some]))
        kept = torch.rand(len(token), generator=random) < keep[token]
        for block in zip(token[kept].split(BLOCK), text[kept].split(BLOCK), strict=True):
            yield start / len(order), block
