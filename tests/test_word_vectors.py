"""The word vectors and sentence features that the text chapter starts from."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from mmbook import Modality, collate
from mmbook.book.datasets.sentences import sentence_indices, sentences
from mmbook.book.datasets.word_pairs import word_pairs
from mmbook.book.recipes import sentence_features, word_vectors
from mmbook.book.recipes.words import shuffled, training_texts
from mmbook.book.written.correlation import agreement
from mmbook.encoders import Bert
from mmbook.preprocess import TextProcessor, words


def embeddings(texts: list[str]) -> torch.Tensor:
    """MiniLM's unit vectors ``(N, 384)``."""
    process = TextProcessor()
    batch = collate([{"text": process(text)} for text in texts])
    with torch.no_grad():
        return Bert.minilm().sentence_embedding(Modality(batch["text"], batch["text_mask"]))


def test_word_vectors_agree_with_minilm_beyond_chance() -> None:
    pairs, model = word_pairs(), word_vectors()
    listed = list(dict.fromkeys(word for pair in pairs for word in (pair.first, pair.second)))
    place = {word: i for i, word in enumerate(listed)}
    ours = F.normalize(torch.stack([model.vector(word) for word in listed]))
    theirs = embeddings(listed)
    found = agreement(
        ours @ ours.T,
        theirs @ theirs.T,
        [(place[pair.first], place[pair.second]) for pair in pairs],
        [pair.block for pair in pairs],
        draws=500,
    )
    assert found.low > found.chance_high > 0 and found.p < 0.01


def test_a_cached_model_is_as_good_as_a_new_one() -> None:
    first, second = word_vectors(), word_vectors()
    assert torch.equal(first.table.weight, second.table.weight)
    assert first.config == second.config and first.weights == "pretrained" and not first.training


def test_no_held_out_sentence_is_in_the_training_text() -> None:
    texts = training_texts()
    everything = "\n".join(" ".join(words(text)) for text in texts)
    held_out = [sentences()[i].text for split in ("valid", "test") for i in sentence_indices(split)]
    assert not [text for text in held_out[::20] if f" {' '.join(words(text))} " in everything]
    trained = {sentences()[i].text for i in sentence_indices("train")}
    assert trained <= set(texts) and len(texts) > 25_000 > len(trained)


def test_sentence_features_are_minilm_on_each_sentence_in_order() -> None:
    features = sentence_features()
    for split in ("train", "valid", "test"):
        index = sentence_indices(split)
        assert features[split].labels.tolist() == [sentences()[i].feeling for i in index]
        some = [sentences()[i].text for i in index[:3]]
        for name, texts in {"text": some, "shuffled": shuffled(some)}.items():
            found = F.normalize(features[split].arrays[name][:3, 0], dim=-1)
            # kept in half precision
            torch.testing.assert_close(found, embeddings(texts), atol=2e-4, rtol=1e-3)


def test_shuffling_keeps_the_words_and_depends_on_the_text_only() -> None:
    texts = ["a film of real , quiet beauty and much more", "one"]
    mixed = shuffled(texts)
    assert mixed == shuffled(texts) and mixed[0] == shuffled(texts[:1])[0]
    assert mixed[0] != texts[0] and sorted(mixed[0].split()) == sorted(texts[0].split())
