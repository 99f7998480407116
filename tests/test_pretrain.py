"""Pretraining without labels: what is hidden is what counts; pairs find each other."""

import pytest
import torch

from mmbook import Modality, Trainer
from mmbook.book.written.pretrain import ContrastivePretraining, MaskedPretraining
from mmbook.book.written.token_transformer import TokenTransformer
from mmbook.data.arrays import from_arrays
from mmbook.encoders import Flattened, Pooled, Projected
from mmbook.losses import info_nce
from mmbook.modality import collate
from mmbook.models import Features

T, D = 6, 4


def rows(count=64, seed=0, short=True):
    """Two modalities that share one number a sample; "a" repeats it in each of its tokens."""
    g = torch.Generator().manual_seed(seed)
    shared = torch.randn(count, 1, generator=g)
    a = shared[:, None] + 0.1 * torch.randn(count, T, D, generator=g)
    b = shared + 0.1 * torch.randn(count, D, generator=g)
    lengths = {"a": torch.randint(1, T + 1, (count,), generator=g)} if short else None
    return from_arrays({"a": a, "b": b}, torch.zeros(count, dtype=torch.long), lengths)


def batch(**changes):
    return collate(list(rows(**changes)))


def masked(share=0.5, seed=0):
    torch.manual_seed(seed)
    return MaskedPretraining("a", TokenTransformer(D, 16, heads=2, max_positions=T), D, share)


def only_a(x):
    return {key: value for key, value in x.items() if key in ("a", "a_mask", "labels")}


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_stated_share_of_real_tokens_is_hidden_at_random(share):
    mask = batch()["a_mask"]
    hidden = masked(share).hide(mask)
    assert not (hidden & ~mask).any()
    wanted = (share * mask.sum(1)).round().clamp(min=1)
    assert torch.equal(hidden.sum(1).float(), wanted)
    assert not torch.equal(hidden, masked(share, seed=1).hide(mask))
    nothing = torch.zeros(2, T, dtype=torch.bool)
    assert not masked(share).hide(nothing).any()


def test_the_loss_is_the_error_at_hidden_tokens_and_nothing_hidden_is_read():
    model, x = masked(), batch()
    modality = Modality(x["a"], x["a_mask"])
    torch.manual_seed(5)
    guesses, hidden = model.guess(modality)
    torch.manual_seed(5)
    loss = model(**only_a(x)).loss
    by_hand = sum((guesses[i, t] - x["a"][i, t]).square().mean() for i, t in hidden.nonzero().tolist())
    torch.testing.assert_close(loss, by_hand / hidden.sum())
    other = x["a"].masked_fill(hidden[..., None], 99.0)
    torch.manual_seed(5)
    torch.testing.assert_close(model.guess(Modality(other, x["a_mask"]))[0], guesses, rtol=0, atol=0)


def test_masked_pretraining_learns_to_guess_from_the_other_tokens():
    model, data = masked(), rows(256, short=False).select(["a"])
    variance = data.arrays["a"].var()
    Trainer(model, data, epochs=25, batch_size=32, lr=5e-3, seed=0, device="cpu").fit()
    loss = model(a=rows(256, seed=1, short=False).arrays["a"]).loss
    assert loss < 0.2 * variance  # the mean of all would leave the whole of it


def test_one_token_of_a_bottleneck_can_be_decoded_to_all():
    torch.manual_seed(0)
    encoder = Projected(Flattened(Features(D), T), 3)
    model, x = MaskedPretraining("a", encoder, D, tokens=T), batch(short=False)
    guesses, hidden = model.guess(Modality(x["a"], x["a_mask"]))
    assert guesses.shape == x["a"].shape and hidden.any()


def test_contrast_is_info_nce_of_the_projections():
    torch.manual_seed(0)
    encoders = {"a": Pooled(TokenTransformer(D, 16, heads=2, max_positions=T)), "b": Features(D)}
    model, x = ContrastivePretraining(encoders, 8, temperature=0.2), batch()
    x["b_mask"][3] = False  # this sample has no pair
    kept = torch.arange(64) != 3
    a = model.projections["a"](encoders["a"](Modality(x["a"], x["a_mask"])).pooled())[kept]
    b = model.projections["b"](x["b"][:, 0])[kept]
    torch.testing.assert_close(model(**x).loss, info_nce(a, b, 0.2))
    x["b"][3] = float("nan")
    assert model(**x).loss.isfinite()


def test_contrast_finds_what_both_share_and_shuffled_pairs_teach_nothing():
    data = rows(256)

    def trained(data):
        torch.manual_seed(0)
        model = ContrastivePretraining({"a": Pooled(Features(D)), "b": Features(D)}, 4)
        Trainer(model, data, epochs=20, batch_size=64, lr=1e-2, seed=0, device="cpu").fit()
        return model(**batch(count=64, seed=1)).loss

    chance = torch.tensor(64.0).log()
    assert trained(data) < 0.75 * chance < trained(data.shuffled("b"))


def test_three_modalities_are_the_mean_of_their_pairs():
    torch.manual_seed(0)
    encoders = {name: Features(D) for name in "abc"}
    model = ContrastivePretraining(encoders, 8)
    x = {name: torch.randn(10, 1, D) for name in "abc"}

    def loss(names):
        return model(**{name: x[name] for name in names}).loss

    pairs = [loss("ab"), loss("ac"), loss("bc")]
    torch.testing.assert_close(loss("abc"), sum(pairs) / 3)


def test_a_batch_without_pairs_is_zero_and_touches_every_parameter():
    model = ContrastivePretraining({"a": Projected(Features(D), 3), "b": Projected(Features(D), 3)}, 8)
    x = {name: torch.randn(1, 1, D) for name in "ab"}
    loss = model(**x).loss
    loss.backward()
    assert loss == 0 and all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_the_token_transformer_keeps_the_contract_of_encoders():
    torch.manual_seed(0)
    encoder = TokenTransformer(D, 16, layers=2, heads=2, max_positions=9).eval()
    x = batch()
    x["a_mask"][5] = False
    m = Modality(x["a"].masked_fill(~x["a_mask"][..., None], float("nan")), x["a_mask"])
    y = encoder(m)
    assert y.values.shape == (64, T, 16) and y.values.isfinite().all() and y.values[~m.mask].eq(0).all()
    padded = Modality(
        torch.nn.functional.pad(m.values, (0, 0, 0, 3)), torch.nn.functional.pad(m.mask, (0, 3))
    )
    torch.testing.assert_close(encoder(padded).values[:, :T], y.values, rtol=1e-5, atol=1e-6)
    swapped = encoder(Modality(x["a"].flip(1), torch.ones_like(m.mask))).values.flip(1)
    assert not torch.allclose(swapped, encoder(Modality(x["a"], torch.ones_like(m.mask))).values, atol=1e-3)
    with pytest.raises(ValueError, match="10 tokens.*9"):
        encoder(Modality(torch.zeros(1, 10, D), torch.ones(1, 10, dtype=torch.bool)))


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match="share is 1"):
        masked(1.0)
    with pytest.raises(ValueError, match=r"two modalities.*\['a'\]"):
        ContrastivePretraining({"a": Features(D)})
