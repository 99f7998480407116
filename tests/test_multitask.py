"""Several tasks over shared layers: missing labels, weights of known optimum, no conflict of gradients."""

import numpy as np
import pytest
import torch

from mmbook import MultimodalModel, Trainer
from mmbook.book.written.pcgrad import PCGrad, with_gradients, without_conflict
from mmbook.data.arrays import from_arrays
from mmbook.fusion import build_fusion
from mmbook.heads import Classification, Regression
from mmbook.modality import group
from mmbook.models import Features, FixedWeights, MultiTask, UncertaintyWeights
from mmbook.models.detection import Detection

DIMS = {"a": 4, "b": 5}


def data(count=120, seed=0, missing=0.3):
    """Labels: a class, and a number; some of either unknown."""
    rng = np.random.default_rng(seed)
    x = {name: rng.normal(size=(count, dim)) for name, dim in DIMS.items()}
    number = x["a"][:, 0] + x["b"][:, 0]
    labels = np.stack([number > 0, number], axis=1).astype(float)
    labels[rng.random(labels.shape) < missing] = np.nan
    return from_arrays(x, labels)


def model(weighting=None, seed=0):
    torch.manual_seed(seed)
    heads = {"sign": Classification(8, 2, hidden=8), "size": Regression(8)}
    encoders = {name: Features(dim) for name, dim in DIMS.items()}
    return MultimodalModel(encoders, build_fusion("concat", DIMS, 8), MultiTask(heads, weighting))


def batch(rows):
    return Trainer(model(), rows, epochs=1, batch_size=1, lr=1, seed=0).collate(list(rows))


def gradients(loss, module):
    module.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def test_each_task_learns_from_its_labelled_rows_only():
    net, rows = model(), data()
    x = batch(rows)
    features = {name: net.encoders[name](m) for name, m in group(x, list(DIMS)).items()}
    fused = net.fusion(features)
    known = ~x["labels"].isnan()
    by_hand = 0
    for k, head in enumerate(net.head.heads.values()):
        rows_of = known[:, k]
        by_hand = by_hand + head(fused[rows_of], x["labels"][rows_of, k]).loss * rows_of.float().mean()
    torch.testing.assert_close(net(**x).loss, by_hand)


def test_whole_numbers_are_unknown_where_negative():
    x = batch(data(missing=0))
    head = MultiTask({"one": Classification(8, 2), "two": Classification(8, 2)})
    fused, labels = torch.randn(120, 8), x["labels"][:, :1].long().repeat(1, 2)
    labels[50:, 1] = -1
    (_, one), (answers, two) = head.by_task(head(fused).logits, labels).values()
    assert len(one) == 120 and len(two) == 50 and answers.shape == (50, 2) and two.dtype == torch.long
    assert torch.equal(one, labels[:, 0])


def test_a_batch_without_any_label_of_a_task_is_finite_and_touches_its_head():
    net, x = model(), batch(data())
    x["labels"][:, 0] = float("nan")
    found = gradients(net(**x).loss, net)
    assert all(g.isfinite().all() for g in found.values()) and len(found) == len(list(net.parameters()))


def test_accumulation_gives_the_gradient_of_the_whole_batch_though_labels_are_missing():
    rows = data()
    runs = [Trainer(model(), rows, epochs=1, batch_size=120, lr=0.1, seed=0, accumulate=n) for n in (1, 7)]
    for run in runs:
        run.device, run.optimizer = "cpu", torch.optim.SGD(run.model.parameters(), 0.1)
        run.fit()
    for p, q in zip(runs[0].model.parameters(), runs[1].model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("wrapped", [False, True])
def test_it_trains_is_scored_by_task_saved_and_loaded(tmp_path, wrapped):
    net = model(UncertaintyWeights(["sign", "size"]))
    trained = PCGrad(net) if wrapped else net
    options = {"batch_size": 20, "lr": 0.02, "seed": 0, "device": "cpu", "monitor": "sign_accuracy"}
    run = Trainer(trained, data(400), data(seed=1), epochs=8, **options)
    run.fit()
    scores = run.evaluate(data(seed=2, missing=0))
    # the fusion normalises each modality, which blurs a sum of two numbers: far from chance, not perfect
    assert scores["sign_accuracy"] > 0.7 and scores["size_correlation"] > 0.7
    net.save_pretrained(tmp_path)
    again, x = MultimodalModel.from_pretrained(tmp_path), batch(data())
    assert again.state_dict().keys() == net.state_dict().keys()
    torch.testing.assert_close(again(**x).logits, net.eval()(**x).logits, rtol=0, atol=0)
    torch.testing.assert_close(again(**x).loss, net(**x).loss, rtol=0, atol=0)


def test_fixed_weights_multiply():
    losses = {"a": torch.tensor(2.0), "b": torch.tensor(3.0)}
    assert FixedWeights({"b": 0.5})(losses) == {"a": 2.0, "b": 1.5}


def test_uncertainty_settles_where_the_variance_is_the_loss():
    """The least (exp(-s) L + s) / 2 over s is at exp(s) = L: the value (1 + log L) / 2, the weight 1 / 2L."""
    losses = {"a": torch.tensor(0.2), "b": torch.tensor(7.0)}
    weights = UncertaintyWeights(["a", "b"])
    optimiser = torch.optim.LBFGS(weights.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        total = sum(weights(losses).values())
        total.backward()
        return total

    optimiser.step(closure)
    torch.testing.assert_close(
        weights.log_variance.exp().detach(), torch.tensor([0.2, 7.0]), rtol=1e-3, atol=0
    )
    leaf = {name: loss.clone().requires_grad_() for name, loss in losses.items()}
    sum(weights(leaf).values()).backward()
    for name, loss in losses.items():
        torch.testing.assert_close(leaf[name].grad, 1 / (2 * loss), rtol=1e-3, atol=0)
        torch.testing.assert_close(weights(losses)[name], (1 + loss.log()) / 2, rtol=1e-3, atol=1e-4)


def test_projection_takes_away_what_conflicts_and_nothing_else():
    torch.manual_seed(0)
    seen = 0
    for _ in range(50):
        g = torch.randn(2, 6, dtype=torch.float64)
        p = without_conflict(g)
        if g[0] @ g[1] >= 0:
            assert torch.equal(p, g)
            continue
        seen += 1
        for ours, old, other in ((p[0], g[0], g[1]), (p[1], g[1], g[0])):
            assert abs(ours @ other) < 1e-9  # at right angles to the other's gradient
            removed = old - ours
            torch.testing.assert_close(removed, (removed @ other) / (other @ other) * other)  # along it only
            assert ours.norm() < old.norm()
    assert seen > 5


def test_many_tasks_in_agreement_stay_as_they_are():
    g = torch.rand(5, 7)  # all products positive
    assert torch.equal(without_conflict(g), g)


def test_an_arbitrary_gradient_can_be_planted():
    p, q = torch.randn(3, 2, requires_grad=True), torch.randn(4, requires_grad=True)
    wanted = torch.randn(3, 2), torch.randn(4)
    loss = with_gradients(torch.tensor(5.0), (p, q), wanted)
    loss.backward()
    assert loss.item() == 5 and torch.equal(p.grad, wanted[0]) and torch.equal(q.grad, wanted[1])


def test_pcgrad_leaves_the_projected_sum_in_what_is_shared_and_the_usual_gradient_in_the_heads():
    net, x = model(seed=3), batch(data(missing=0))
    x["labels"][:, 1] *= -3  # the second task now pulls the other way
    plain = gradients(net(**x).loss, net)
    output = PCGrad(net)(**x)
    torch.testing.assert_close(output.loss, net(**x).loss)
    ours = gradients(output.loss, net)
    alone = []
    for task in ("sign", "size"):
        off = {"sign": 0.0, "size": 0.0} | {task: 1.0}
        net.head.weighting = FixedWeights(off)
        alone.append(gradients(net(**x).loss, net))
    net.head.weighting = FixedWeights()
    shared = [name for name in plain if name.startswith("fusion")]
    rows = torch.stack([torch.cat([g[name].flatten() for name in shared]) for g in alone])
    assert rows[0] @ rows[1] < 0, "the two tasks were meant to conflict"
    expected = without_conflict(rows).sum(0)
    torch.testing.assert_close(torch.cat([ours[name].flatten() for name in shared]), expected)
    assert not torch.allclose(expected, rows.sum(0))
    for name in plain:
        if name not in shared:
            torch.testing.assert_close(ours[name], plain[name])


def test_pcgrad_without_conflict_is_the_plain_sum():
    torch.manual_seed(0)
    net, x = model(), batch(data(missing=0))
    head = net.head.heads["sign"]
    net.head = MultiTask({"one": head, "two": head})  # the same task twice agrees with itself
    x["labels"] = x["labels"][:, :1].repeat(1, 2)
    plain, ours = (gradients(m(**x).loss, net) for m in (net, PCGrad(net)))
    for name, expected in plain.items():
        torch.testing.assert_close(ours[name], expected)


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match=r"\(120, 2\).*3 tasks.*\(B, 3\)"):
        MultiTask({n: Regression(8) for n in "abc"})(torch.randn(120, 8), torch.zeros(120, 2))
    with pytest.raises(ValueError, match="'where'.*Detection"):
        MultiTask({"where": Detection(8, 3)})
    with pytest.raises(ValueError, match="no heads"):
        MultiTask({})
    with pytest.raises(ValueError, match="'c'.*a, b"):
        FixedWeights({"c": 1.0})({"a": torch.tensor(1.0), "b": torch.tensor(1.0)})
    with pytest.raises(ValueError, match="-1"):
        FixedWeights({"c": -1.0})
    with pytest.raises(ValueError, match="Classification"):
        encoders = {name: Features(dim) for name, dim in DIMS.items()}
        PCGrad(MultimodalModel(encoders, build_fusion("concat", DIMS, 8), Classification(8, 2)))
