"""The pieces of the chapter on sharing: data whose ceilings are as stated, and controls that are controls."""

import pytest
import torch

from mmbook.book.recipes import balance, labels, tasks, transfer
from mmbook.book.written.lora import LoRALinear


def test_the_best_decisions_on_drowned_data_reach_the_stated_ceilings():
    rows = balance.data(40_000, 0)
    quick, slow = rows.arrays["quick"][:, 0, 0], rows.arrays["slow"][:, 0] / balance.SMALL
    product, heard = slow[:, 0] * slow[:, 1], slow[:, :2].abs().amax(dim=1) > 1
    answers = {
        "quick": quick > 0,
        "slow": product > 0,
        "both": torch.where(heard, product > 0, quick > 0),
    }
    for name, answer in answers.items():
        right = (answer == rows.labels).float().mean().item()
        assert right == pytest.approx(balance.CEILINGS[name], abs=0.01)
    assert ((slow[:, 0] > 0) == rows.labels).float().mean().item() == pytest.approx(0.5, abs=0.02)


def test_equal_modalities_are_of_one_kind_with_signs_of_their_own():
    rows = balance.data(20_000, 0, equal=True)
    assert len(set(rows.dims.values())) == 1
    a, b = (rows.arrays[name][:, 0] for name in ("quick", "slow"))
    for x in (a, b):
        right = ((x[:, 0] * x[:, 1] > 0) == rows.labels).float().mean().item()
        assert right == pytest.approx(balance.CEILINGS["slow"], abs=0.01)
    assert abs(torch.corrcoef(torch.stack([a[:, 0], b[:, 0]]))[0, 1]) < 0.03


def test_a_probe_reads_what_is_linear_and_nothing_else():
    rows, test = balance.data(3000, 0), balance.data(2000, 1)
    as_it_is = torch.nn.Identity()
    assert balance.probe(as_it_is, "quick", rows, test) > 0.85
    assert balance.probe(as_it_is, "slow", rows, test) < 0.56  # a product is not linear


def test_kinds_and_numbers_come_from_the_inputs_that_the_setting_says():
    for setting in tasks.SETTINGS.values():
        rows = tasks.data(20_000, 0, setting)
        x, (kind, first, second) = rows.arrays["x"][:, 0], rows.labels.T
        right = ((x[:, 0] * x[:, 1] > 0) == kind).float().mean().item()
        assert right == pytest.approx(tasks.CEILINGS["kind"], abs=0.01)
        start = 2 if setting.rival else 0
        for number, source in ((first, x[:, start]), (second, x[:, start + 1])):
            left = (number / setting.unit - source).var() / (number / setting.unit).var()
            assert 1 - left.item() == pytest.approx(tasks.CEILINGS["numbers"], abs=0.01)


def test_uncertainty_started_right_stands_where_it_would_settle():
    setting = tasks.SETTINGS["rival, wide, large units"]
    rows = tasks.data(500, 0, setting)
    weights = tasks.uncertain_started(setting, rows.labels)
    losses = dict(zip(tasks.TASKS, weights.log_variance.detach().exp(), strict=True))
    sum(weights(losses).values()).backward()
    torch.testing.assert_close(weights.log_variance.grad, torch.zeros(3), atol=1e-5, rtol=0)


def test_views_move_the_picture_and_hide_patches_independently():
    torch.manual_seed(0)
    pictures = torch.zeros(50, 28, 28)
    pictures[:, 14, 14] = 1.0
    (one, first), (two, second) = labels.view(pictures), labels.view(pictures)
    assert one.shape == (50, 16, 49) and (one.sum(dim=(1, 2)) == 1).all() and not torch.equal(one, two)
    assert (first.sum(dim=1) == 10).all() and not torch.equal(second, first)
    assert not torch.equal(second, ~first)  # or the masks would tell who belongs together
    plain = labels.patches(pictures)
    assert plain[0, 2 * 4 + 2, 0] == 1  # row 14, column 14: the third patch down and across, its first pixel


def test_only_what_a_way_names_is_trained():
    counts = {}
    for name in ("frozen", "last block", "LoRA, rank 8", "full"):
        encoder = transfer.WAYS[name][0]()
        counts[name] = sum(p.numel() for p in encoder.parameters() if p.requires_grad)
        lora = [m for m in encoder.modules() if isinstance(m, LoRALinear)]
        assert bool(lora) == name.startswith("LoRA")
    assert counts["frozen"] == 0 and counts["LoRA, rank 8"] == 6 * 8 * 4 * 384
    assert counts["LoRA, rank 8"] < counts["last block"] < counts["full"]


def test_word_counts_follow_the_words():
    train = [{"text": torch.tensor([5, 6, 6]), "labels": 1}, {"text": torch.tensor([7, 8]), "labels": 0}]
    test = [{"text": torch.tensor([6, 9])}, {"text": torch.tensor([8, 8])}]
    assert transfer.bayes(train, test).tolist() == [1, 0]
