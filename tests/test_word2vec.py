"""Word2Vec equals torch's embedding; skip-gram equals autograd through a loop over the pairs, and learns."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from mmbook import Modality, collate
from mmbook.book.datasets.word_pairs import RELATIONS, word_pairs
from mmbook.book.written.correlation import agreement
from mmbook.book.written.skip_gram import gradients, skip_gram, skip_gram_loss
from mmbook.encoders import Word2Vec

WORDS = ["film", "good", "bad", "plot", "actor"]


def random_words(width: int = 8) -> Word2Vec:
    torch.manual_seed(0)
    return Word2Vec(WORDS, width)


def as_batch(model: Word2Vec, *texts: str) -> Modality:
    batch = collate([{"text": model.ids(text)} for text in texts])
    return Modality(batch["text"], batch["text_mask"])


@pytest.mark.parametrize(("rows", "width"), [(1, 1), (40, 16), (1000, 100)])
def test_equals_torch_embedding_in_output_and_gradient(rows: int, width: int) -> None:
    torch.manual_seed(0)
    theirs = nn.Embedding(rows, width).eval()
    ours = Word2Vec.from_reference(theirs, [f"w{i}" for i in range(rows)])
    assert not ours.training
    batch = collate([{"text": torch.randint(rows, (length,))} for length in (9, 1, 5)])
    text = Modality(batch["text"], batch["text_mask"])
    found, expected = ours(text).values[text.mask], theirs(text.values)[text.mask]
    assert torch.equal(found, expected)
    weight = torch.randn_like(found)
    (found * weight).sum().backward()
    (expected * weight).sum().backward()
    gradient = ours.table.weight.grad
    torch.testing.assert_close(gradient[:rows], theirs.weight.grad)
    assert not gradient[rows].any(), "padding and unknown words learn nothing"


@pytest.mark.parametrize(
    "options", [{"padding_idx": 0}, {"max_norm": 1.0}, {"scale_grad_by_freq": True}, {"sparse": True}]
)
def test_other_embeddings_are_refused_by_name(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Word2Vec.from_reference(nn.Embedding(5, 2, **options), WORDS)


def test_an_embedding_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="4 rows for 5 words"):
        Word2Vec.from_reference(nn.Embedding(4, 2), WORDS)


@pytest.mark.parametrize("vocabulary", [[], ["film", "film"]])
def test_impossible_vocabularies_are_refused(vocabulary: list[str]) -> None:
    with pytest.raises(ValueError, match=f"{len(vocabulary)} words"):
        Word2Vec(vocabulary)


def test_text_to_vectors() -> None:
    model = random_words()
    assert model.ids("A GOOD film, good plot!").tolist() == [1, 0, 1, 3]
    text = as_batch(model, "a good film", "bad")
    for found, expected in zip(model(text).values[0], ("good", "film"), strict=True):
        assert torch.equal(found, model.vector(expected))


@pytest.mark.parametrize("nothing_known", ["zyzzyva", "", "?!"])
def test_a_text_without_a_known_word_says_nothing_and_is_not_missing(nothing_known: str) -> None:
    model = random_words()
    output = model(as_batch(model, "good film", nothing_known))
    assert output.mask.any(dim=1).tolist() == [True, True]
    assert not output.values[1].any() and not output.pooled()[1].any()
    output.values.sum().backward()
    assert not model.table.weight.grad[model.unknown].any()


def test_ids_out_of_the_table_are_not_read_silently() -> None:
    with pytest.raises(IndexError):
        random_words()(Modality(torch.tensor([[99]]), torch.tensor([[True]])))
    with pytest.raises(ValueError, match="float32.*integer ids"):
        random_words()(Modality(torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool)))


def test_neighbours_are_the_most_similar_words() -> None:
    model = random_words()
    found = model.neighbours("film", 3)
    by_hand = sorted((model.similarity("film", w), w) for w in WORDS if w != "film")[::-1][:3]
    assert [word for word, _ in found] == [word for _, word in by_hand]
    for (_, cosine), (expected, _) in zip(found, by_hand, strict=True):
        assert math.isclose(cosine, expected, abs_tol=1e-6)
    assert model.neighbours(model.vector("film"), 1)[0][0] == "film"
    assert len(model.neighbours("film", 99)) == len(WORDS) - 1
    with pytest.raises(ValueError, match="'Film'.*5 words.*lower-case"):
        model.vector("Film")


def naive(
    centre: Tensor, context: Tensor, noise: Tensor, negatives: float, text: Tensor, reach: Tensor
) -> Tensor:
    """The loss as the paper writes it, pair by pair."""
    loss = centre.new_zeros(())
    for i in range(len(text)):
        for j in range(len(text)):
            if i != j and abs(i - j) <= reach[i] and text[i] == text[j]:
                loss = loss - torch.log(torch.sigmoid(centre[i] @ context[j]))
                for n in noise:
                    loss = loss - negatives / len(noise) * torch.log(torch.sigmoid(-centre[i] @ n))
    return loss


def running_text(tokens: int, width: int, noise: int) -> list[Tensor]:
    torch.manual_seed(tokens)
    sizes = [(tokens, width), (tokens, width), (noise, width)]
    vectors = [torch.randn(size, dtype=torch.float64, requires_grad=True) for size in sizes]
    text = torch.arange(tokens) // 7  # texts of seven tokens
    return [*vectors, text, torch.randint(1, 6, (tokens,))]


@pytest.mark.parametrize(("tokens", "width", "noise"), [(23, 5, 4), (8, 3, 1), (2, 2, 3), (1, 4, 2)])
def test_gradients_equal_autograd_through_a_loop_over_the_pairs(tokens: int, width: int, noise: int) -> None:
    centre, context, other, text, reach = running_text(tokens, width, noise)
    loss = naive(centre, context, other, 5, text, reach)
    if tokens == 1:  # no pair at all
        expected: tuple[Tensor, ...] = tuple(torch.zeros_like(x) for x in (centre, context, other))
    else:
        expected = torch.autograd.grad(loss, (centre, context, other))
    with torch.no_grad():
        found = gradients(centre, context, other, 5, text, reach)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_loss_of_listed_pairs_equals_the_loop() -> None:
    centre, context, other, text, reach = running_text(23, 5, 4)
    pairs = [
        (i, j)
        for i in range(23)
        for j in range(23)
        if i != j and abs(i - j) <= reach[i] and text[i] == text[j]
    ]
    i, j = torch.tensor(pairs).T
    found = skip_gram_loss(centre[i], context[j], other, 5)
    torch.testing.assert_close(found, naive(centre, context, other, 5, text, reach))


def test_a_block_without_a_token_has_no_gradient() -> None:
    empty, none = torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)
    found = gradients(empty, empty, torch.ones(2, 3), 5, none, none)
    assert [tuple(g.shape) for g in found] == [(0, 3), (0, 3), (2, 3)] and not found.noise.any()


def two_topics(count: int = 600) -> list[str]:
    """Sentences of five words that are all of one topic; words of two topics never meet."""
    torch.manual_seed(3)
    topics = [[f"{name}{i}" for i in range(8)] for name in ("sea", "court")]
    return [" ".join(topics[i % 2][j] for j in torch.randint(8, (5,)).tolist()) for i in range(count)]


def test_words_of_one_topic_come_together() -> None:
    model = skip_gram(two_topics(), width=8, epochs=10, min_count=1, subsample=1, lr=0.05)
    for word in model.vocabulary:
        near = [other for other, _ in model.neighbours(word, 7)]
        assert all(other.rstrip("0123456789") == word.rstrip("0123456789") for other in near), (word, near)


def test_the_seed_decides_and_rare_words_are_left_out() -> None:
    texts = [*two_topics(100), "sea0 hapax"]
    first, again, other = (skip_gram(texts, width=4, epochs=1, min_count=2, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.table.weight, again.table.weight)
    assert not torch.equal(first.table.weight, other.table.weight)
    assert "hapax" not in first.vocabulary and "sea0" in first.vocabulary
    with pytest.raises(ValueError, match="min_count=9999 times in 101 texts"):
        skip_gram(texts, min_count=9999)


def test_pairs_do_not_cross_texts_and_the_window_ends() -> None:
    """A pair that does not exist moves nothing: the context vector of a lone token has no gradient."""
    vectors = [torch.randn(3, 2) for _ in range(2)]
    noise, alone = torch.randn(2, 2), torch.tensor([0, 1, 2])
    assert not any(g.any() for g in gradients(*vectors, noise, 5, alone, torch.tensor([5, 5, 5])))
    far = gradients(*vectors, noise, 5, torch.zeros(3), torch.tensor([1, 0, 0]))
    assert far.context[1].any() and not far.context[[0, 2]].any()


def test_the_word_pairs_are_blocks_of_four() -> None:
    pairs = word_pairs()
    assert len(pairs) >= 250 and {pair.relation for pair in pairs} == set(RELATIONS)
    home: dict[str, int] = {}
    for pair in pairs:
        for word in (pair.first, pair.second):
            assert home.setdefault(word, pair.block) == pair.block, f"{word} stands in two blocks"
    for word in home:
        related = [p.relation != "none" for p in pairs if word in (p.first, p.second)]
        assert sorted(related) == [False, True], f"{word}: one related and one unrelated pair"


def similarities(seed: int, items: int) -> Tensor:
    vectors = torch.randn(items, 6, generator=torch.Generator().manual_seed(seed))
    return vectors @ vectors.T


def test_agreement_with_itself_is_one_and_far_from_chance() -> None:
    same = similarities(0, 120)
    pairs = torch.arange(120).view(60, 2)
    found = agreement(same, same, pairs, draws=200)
    assert found.correlation == pytest.approx(1) and found.low == pytest.approx(1)
    assert found.p == pytest.approx(1 / 201) and found.chance_low < 0 < found.chance_high < 0.5


def test_agreement_of_strangers_is_within_chance_at_its_rate() -> None:
    """Under the null, p is uniform: below 0.1 in about a tenth of the cases, pairs sharing items or not."""
    pairs = torch.tensor(
        [(i, j) for k in range(0, 80, 4) for i, j in ((k, k + 1), (k, k + 2), (k + 3, k + 1))]
    )
    blocks = torch.arange(20).repeat_interleave(3)
    small = [
        agreement(similarities(s, 80), similarities(1000 + s, 80), pairs, blocks, draws=19).p <= 0.1
        for s in range(120)
    ]
    assert 0.02 < sum(small) / len(small) < 0.2


def test_agreement_equals_scipy() -> None:
    from scipy.stats import spearmanr

    a, b, pairs = similarities(0, 40), similarities(1, 40), torch.arange(40).view(20, 2)
    i, j = pairs.T
    expected = spearmanr(a[i, j], b[i, j]).statistic
    assert agreement(a, b, pairs, draws=2).correlation == pytest.approx(expected)


@pytest.mark.parametrize(
    ("pairs", "blocks", "message"),
    [
        ([[0, 1], [1, 2]], None, "item 1 stands in two blocks"),
        ([[0, 1], [2, 3]], [0, 0], "one block"),
        ([[0, 1], [2, 3]], [0, 1, 2], "square matrices"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(
    pairs: list[list[int]], blocks: list[int] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        agreement(similarities(0, 4), similarities(1, 4), pairs, blocks)
