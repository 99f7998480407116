"""A pretrained reader of sentences, frozen, tuned in part or tuned whole: made once and kept."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmbook.book.datasets.sentences import sentence_indices, sentences
from mmbook.book.kept import Recipe
from mmbook.book.written.lora import LoRA
from mmbook.encoders import Bert, Frozen, Pooled
from mmbook.fusion import build_fusion
from mmbook.heads import Classification
from mmbook.models import MultimodalModel
from mmbook.preprocess import TextProcessor
from mmbook.seeding import stream
from mmbook.train import Trainer

SEEDS = 3
LONGEST, LABELLED, EPOCHS = 20, 200, 4  # word pieces, sentences to learn from, passes over them
WIDTH = 64


class Tuned(NamedTuple):
    """What became of one way to use MiniLM.

    Attributes:
        right: ``(S, N)`` 1.0 where the answer to a test sentence is right, a row for each seed.
        parameters: trained ones, the head included.
        seconds: ``(S,)`` of training.
    """

    right: Tensor
    parameters: int
    seconds: Tensor


def partial() -> nn.Module:
    """MiniLM with its last block trained."""
    encoder = Bert.minilm().requires_grad_(False)
    encoder.blocks[-1].requires_grad_(True)
    return encoder


# Encoder and learning rate: usual ones, not tuned here.
WAYS: dict[str, tuple[Callable[[], nn.Module], float]] = {
    "frozen": (lambda: Frozen(Bert.minilm()), 2e-3),
    "last block": (partial, 3e-4),
    "LoRA, rank 8": (lambda: LoRA(Bert.minilm(), rank=8, alpha=16), 1e-3),
    "full": (Bert.minilm, 1e-4),
    "random weights, full": (Bert, 1e-4),
}


def classifier(encoder: nn.Module) -> MultimodalModel:
    """An encoder of text, the mean of its tokens, a layer of 64 and two classes."""
    fusion = build_fusion("concat", {"text": 384}, WIDTH)
    return MultimodalModel({"text": Pooled(encoder)}, fusion, Classification(WIDTH, 2))


def short(split: str) -> list[dict[str, Any]]:
    """The sentences of a split with at most 20 word pieces, as rows; those of like length side by side."""
    process = TextProcessor()
    some = [sentences()[i] for i in sentence_indices(split)]
    rows: list[dict[str, Any]] = [{"text": process(s.text), "labels": s.feeling} for s in some]
    return sorted((r for r in rows if len(r["text"]) <= LONGEST), key=lambda r: len(r["text"]))


def fine_tuned() -> dict[str, Tuned]:
    """MiniLM on 200 film-review sentences, in each of the `WAYS`, three seeds; kept.

    A seed draws the training sentences, the head and the order. Controls: "majority", the more frequent class
    of the training sentences, and "word counts", a naive Bayes classifier on them.
    """
    x = RECIPE.tensors()
    names = ("majority", "word counts", *WAYS)
    return {n: Tuned(x[f"{n}/right"], int(x[f"{n}/parameters"][0]), x[f"{n}/seconds"]) for n in names}


def _make() -> dict[str, Tensor]:
    train, test = short("train"), short("test")
    truth = torch.tensor([row["labels"] for row in test])
    found: dict[str, list[Tensor]] = {}

    def note(name: str, answers: Tensor, parameters: int = 0, seconds: float = 0.0) -> None:
        values = {"right": (answers == truth).float(), "parameters": parameters, "seconds": seconds}
        for key, value in values.items():
            found.setdefault(f"{name}/{key}", []).append(torch.as_tensor(value))

    for seed in range(SEEDS):
        chosen = stream("fine tuned", seed).permutation(len(train))[:LABELLED]
        some: Any = [train[i] for i in chosen]
        counted = Counter(row["labels"] for row in some).most_common(1)[0][0]
        note("majority", torch.full_like(truth, counted))
        note("word counts", bayes(some, test))
        for name, (encoder, lr) in WAYS.items():
            torch.manual_seed(seed)
            model = classifier(encoder())
            trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
            trainer = Trainer(model, some, epochs=EPOCHS, batch_size=32, lr=lr, seed=seed, progress=False)
            start = time.perf_counter()
            trainer.fit()
            seconds = time.perf_counter() - start
            note(name, trainer.predict(test).logits.argmax(dim=1), trained, seconds)  # type: ignore[arg-type]
    return {key: torch.stack(values) for key, values in found.items()}


def bayes(train: Sequence[Mapping[str, Any]], test: Sequence[Mapping[str, Any]]) -> Tensor:
    """Naive Bayes: ``log p(class) + sum over word pieces of log p(piece | class)``, every count plus one."""
    counts = torch.ones(2, TextProcessor().tokenizer.get_vocab_size())
    for row in train:
        counts[row["labels"]] += torch.bincount(row["text"], minlength=counts.shape[1])
    prior = torch.bincount(torch.tensor([row["labels"] for row in train]), minlength=2).log()
    log_p = (counts / counts.sum(dim=1, keepdim=True)).log()
    return torch.stack([(prior + log_p[:, row["text"]].sum(dim=1)).argmax() for row in test])


def _scores(found: dict[str, Tensor]) -> dict[str, float]:
    names = ("word counts", "frozen", "LoRA, rank 8", "full")
    return {name: found[f"{name}/right"].mean().item() for name in names}


RECIPE = Recipe("fine_tuned", _make, _scores)
