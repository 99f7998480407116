"""What stands in a gap, what is dropped in training, and the loss that aligns modalities."""

import pytest
import torch

from mmbook import Modality, MultimodalModel
from mmbook.fusion import FUSIONS, Aligned, Missing, build_fusion
from mmbook.heads import Classification
from mmbook.losses import info_nce, sigmoid_contrastive
from mmbook.models import Features
from tests.test_fusion_contract import DIMS, inputs


def whole(batch=400, seed=0):
    """Modalities of three tokens that no row lacks."""
    g = torch.Generator().manual_seed(seed)
    return {
        n: Modality(torch.randn(batch, 3, d, generator=g) + i, torch.ones(batch, 3, dtype=torch.bool))
        for i, (n, d) in enumerate(DIMS.items())
    }


@pytest.mark.parametrize("name", FUSIONS)
def test_a_filled_gap_is_a_modality_of_one_token(name):
    """Put in by hand, the filler gives the same as the option."""
    for missing in ("zeros", "learned"):
        filled, x = build_fusion(name, DIMS, 8, missing=missing).eval(), inputs()
        for n, m in x.items():
            for i in (~m.mask.any(dim=1)).nonzero().flatten().tolist():
                m.mask[i, 0] = True
                m.values[i, 0] = filled.fillers[n].detach() if missing == "learned" else 0
        torch.testing.assert_close(filled.fusion(x), filled(inputs()), rtol=0, atol=1e-6)


def test_mean_is_the_mean_of_the_training_rows_that_have_it():
    fusion = build_fusion("concat", DIMS, 8, missing="mean").train()
    x = inputs(batch=12)
    for part in (slice(0, 6), slice(6, 12)):
        fusion({n: Modality(m.values[part], m.mask[part]) for n, m in x.items()})
    found = dict(zip(DIMS, fusion.means.split(list(DIMS.values())), strict=True))
    for n, m in x.items():
        pooled, there = m.pooled(), m.mask.any(dim=1)
        halves = [pooled[p][there[p]].mean(dim=0) for p in (slice(0, 6), slice(6, 12))]
        torch.testing.assert_close(found[n], torch.stack(halves).mean(dim=0))
    before = fusion.means.clone()
    fusion.eval()(inputs(seed=7))
    assert torch.equal(fusion.means, before), "evaluation must not move the mean"
    fusion.train()({"text": x["text"]})
    assert torch.equal(fusion.means[6:], before[6:]), "a modality that a batch lacks keeps its mean"
    assert not torch.equal(fusion.means[:6], before[:6])


def test_mean_in_training_is_that_of_earlier_batches():
    """A row's result does not depend on its neighbours in the batch."""
    one, other = (build_fusion("concat", DIMS, 8, missing="mean").train() for _ in range(2))
    other.load_state_dict(one.state_dict())
    for fusion in (one, other):
        fusion(inputs(seed=1))
    x, y = inputs(seed=2), inputs(seed=3)
    for n, m in y.items():
        m.values[1], m.mask[1] = x[n].values[1], x[n].mask[1]
    torch.testing.assert_close(one(x)[1], other(y)[1])


def test_modality_dropout_drops_at_its_rate_and_never_all():
    fusion, x = build_fusion("mean", DIMS, 8, modality_dropout=0.4).train(), whole(20_000)
    torch.manual_seed(0)
    kept = torch.stack([m.mask.any(dim=1) for m in fusion.seen(x).values()], dim=1).float()
    assert kept.sum(dim=1).min() == 1
    # of those that lose all three (0.4 ** 3), one of three comes back
    rate = 0.6 + 0.4**3 / 3
    torch.testing.assert_close(kept.mean(dim=0), torch.full((3,), rate), atol=0.015, rtol=0)
    pair = (kept[:, 0] * kept[:, 1]).mean()
    torch.testing.assert_close(pair, torch.tensor(0.36), atol=0.015, rtol=0)  # independent of each other


def test_modality_dropout_brings_nothing_back_and_rests_in_evaluation():
    fusion, x = build_fusion("mean", DIMS, 8, modality_dropout=0.9), inputs()
    for m in x.values():
        m.mask[0] = False
    for _ in range(20):
        for n, m in fusion.train().seen(x).items():
            assert not (m.mask & ~x[n].mask).any()
    assert torch.equal(fusion.eval()(x), fusion.fusion(x))
    assert fusion.train()(x).isfinite().all()


def test_what_missing_refuses():
    with pytest.raises(ValueError, match="'zero'.*None, zeros, mean, learned"):
        build_fusion("mean", DIMS, 8, missing="zero")
    with pytest.raises(ValueError, match="modality_dropout is 1"):
        build_fusion("mean", DIMS, 8, modality_dropout=1.0)
    with pytest.raises(ValueError, match="Aligned.*inside"):
        Missing(Aligned(build_fusion("mean", DIMS, 8)), "zeros")
    with pytest.raises(ValueError, match="'nce'.*info_nce, sigmoid"):
        Aligned(build_fusion("mean", DIMS, 8), loss="nce")


def aligned_model(**options):
    torch.manual_seed(0)
    fusion = Aligned(build_fusion("mean", DIMS, 8, missing="learned"), width=5, **options)
    return MultimodalModel({n: Features(d) for n, d in DIMS.items()}, fusion, Classification(8, 2))


def flat(x):
    return {n: m.values for n, m in x.items()} | {f"{n}_mask": m.mask for n, m in x.items()}


@pytest.mark.parametrize("loss", ["info_nce", "sigmoid"])
def test_alignment_is_the_contrastive_loss_over_the_pairs_present(loss):
    fusion, x = aligned_model(loss=loss, weight=0.3).fusion, inputs()  # image: 0, 2, 3; text, audio: 0, 1, 3
    u, _ = fusion.vectors(x)
    text, image, audio = u.unbind(dim=1)

    def contrast(a, b):
        return info_nce(a, b, 0.1) if loss == "info_nce" else sigmoid_contrastive(a, b, 10.0, -10.0)

    pairs = [contrast(text[[0, 3]], image[[0, 3]]), contrast(text[[0, 1, 3]], audio[[0, 1, 3]])]
    pairs.append(contrast(image[[0, 3]], audio[[0, 3]]))
    torch.testing.assert_close(fusion.auxiliary_loss(x), 0.3 * sum(pairs) / 3)


@pytest.mark.parametrize("loss", ["info_nce", "sigmoid"])
def test_the_model_adds_the_alignment_in_training_only(loss):
    model, x, labels = aligned_model(loss=loss), inputs(), torch.tensor([0, 1, 1, 0])
    output = model.train()(**flat(x), labels=labels)
    task = torch.nn.functional.cross_entropy(output.logits, labels)
    torch.testing.assert_close(output.loss, task + model.fusion.auxiliary_loss(x))
    output.loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    assert all(p.grad.any() for n, p in model.fusion.vectors.named_parameters())
    torch.testing.assert_close(model.eval()(**flat(x), labels=labels).loss, task)
    again = MultimodalModel.from_config(model.to_config())
    again.load_state_dict(model.state_dict(), strict=True)
    torch.testing.assert_close(again.eval()(**flat(x)).logits, model(**flat(x)).logits)


def test_alignment_of_a_batch_without_pairs_is_zero_and_touches_its_parameters():
    model = aligned_model().train()
    output = model(text=torch.randn(3, 2, 6), labels=torch.tensor([0, 1, 0]))
    output.loss.backward()
    assert output.loss.isfinite() and all(p.grad is not None for p in model.parameters())
    x = {"text": inputs()["text"]}
    assert model.fusion.auxiliary_loss(x) == 0


def test_training_brings_the_modalities_of_a_sample_together():
    """Before: chance. After: of 32 unseen rows, most find their own other modality first."""
    torch.manual_seed(0)
    content, dims = torch.randn(512, 1, 6), {"a": 6, "b": 6}
    mix = torch.randn(6, 6)
    fusion = Aligned(build_fusion("mean", dims, 4), width=8, weight=1.0)
    optimizer = torch.optim.Adam(fusion.parameters(), 1e-2)

    def rows(part):
        real = torch.ones(len(content[part]), 1, dtype=torch.bool)
        return {"a": Modality(content[part], real), "b": Modality(content[part] @ mix, real)}

    def found():
        a, b = torch.nn.functional.normalize(fusion.vectors(rows(slice(480, 512)))[0], dim=-1).unbind(dim=1)
        return ((a @ b.T).argmax(dim=1) == torch.arange(32)).float().mean()

    before = found()
    for step in range(150):
        optimizer.zero_grad()
        start = 32 * (step % 15)
        fusion.auxiliary_loss(rows(slice(start, start + 32))).backward()
        optimizer.step()
    assert before < 0.3 and found() > 0.7
