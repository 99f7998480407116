"""Temperature scaling finds the temperature there is, mends the ECE, and changes no answer."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from mmbook.evaluate import (
    bootstrap,
    brier,
    equal_mass,
    reliability,
    reliability_diagram,
    temperature,
)


def synthetic(scale, count=20_000, classes=5, seed=0):
    """Labels drawn from softmax(x), logits ``scale * x``: the right temperature is `scale`."""
    g = torch.Generator().manual_seed(seed)
    x = 1.5 * torch.randn(count, classes, generator=g)
    labels = torch.multinomial(x.softmax(1), 1, generator=g)[:, 0]
    return scale * x, labels


@pytest.mark.parametrize("scale", [0.05, 0.5, 1.0, 3.0, 40.0])
def test_it_recovers_a_known_temperature(scale):
    logits, labels = synthetic(scale)
    assert temperature(logits, labels) == pytest.approx(scale, rel=0.04)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [12, 200])
def test_the_nll_of_the_fitting_set_is_at_its_lowest(count, seed):
    logits, labels = synthetic(2.0, count, seed=seed)
    best = temperature(logits, labels)
    nll = lambda t: cross_entropy(logits.double() / t, labels).item()  # noqa: E731
    assert nll(best) <= nll(1.0)
    assert nll(best) <= min(nll(best * near) for near in (0.9, 0.999, 1.001, 1.1)) + 1e-12


def test_no_answer_changes_and_the_calibration_is_mended_on_new_samples():
    fitted, (logits, labels) = temperature(*synthetic(3.0, 2000, seed=1)), synthetic(3.0)
    mended = logits / fitted
    assert torch.equal(mended.argmax(1), logits.argmax(1)), "not one answer, so not the accuracy"
    assert reliability(mended, labels).ece < 0.02 < 0.1 < reliability(logits, labels).ece
    assert cross_entropy(mended, labels) < cross_entropy(logits, labels)
    assert brier(mended, labels) < brier(logits, labels)


def test_it_equals_a_search_with_lbfgs():
    logits, labels = synthetic(2.5, 500)
    log_t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([log_t], max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def loss():
        search.zero_grad()
        value = cross_entropy(logits.double() / log_t.exp(), labels)
        value.backward()
        return value

    search.step(loss)
    assert temperature(logits, labels) == pytest.approx(log_t.exp().item(), rel=1e-5)


def test_nonsense_is_refused():
    logits, labels = synthetic(1.0, 100)
    for bad, truth, said in [
        (10.0 * torch.eye(5)[labels], labels, "all 100 answers are right"),
        (-logits, labels, "infinity"),
        (torch.zeros(100, 5), labels, "all 100|infinity"),
        (logits.where(logits > -2, torch.tensor(-torch.inf)), labels, "minus infinity"),
        (logits * torch.nan, labels, "not numbers"),
        (logits, labels[:50], "shape"),
    ]:
        with pytest.raises(ValueError, match=said):
            temperature(bad, truth)


def test_large_logits_do_not_overflow():
    logits, labels = synthetic(1e6, 1000)
    assert temperature(logits, labels) == pytest.approx(1e6, rel=0.1)


def test_equal_mass_bins_hold_as_many_each():
    logits, labels = synthetic(3.0, 1500)
    table = reliability(logits, labels, equal_mass(logits))
    assert (table.samples == 100).all() and table.edges[0] == 0 and table.edges[-1] == 1
    widths = reliability(logits, labels)
    assert widths.samples.max() > 3 * table.samples.max(), "most confidences lie in few equal widths"
    assert table.ece == pytest.approx(widths.ece, abs=0.02)
    tied = equal_mass(torch.zeros(100, 5))
    assert reliability(torch.zeros(100, 5), labels[:100], tied).samples.sum() == 100


def test_a_perfect_model_has_an_ece_near_zero_and_a_sure_fool_of_one():
    logits, labels = synthetic(1.0, 50_000)
    assert reliability(logits, labels).ece < 0.01
    fool = 100.0 * torch.eye(5)[(labels + 1) % 5]
    assert reliability(fool, labels).ece == pytest.approx(1)


def test_a_confidence_of_exactly_one_is_in_the_last_bin():
    table = reliability(torch.tensor([[1000.0, 0.0]]), torch.tensor([0]))
    assert (
        table.samples.tolist() == [0] * 14 + [1] and table.accuracy[-1] == 1 and np.isnan(table.accuracy[0])
    )


def test_a_confidence_on_an_edge_is_in_the_bin_above():
    table = reliability(torch.zeros(3, 2), torch.tensor([0, 0, 1]), [0, 0.5, 1])
    assert table.samples.tolist() == [0, 3]


def test_the_ece_has_an_interval():
    logits, labels = synthetic(3.0, 400)
    found = bootstrap(lambda x, y: reliability(x, y).ece, logits[None], labels, draws=100)
    assert found.low < found.mean < found.high and found.low > 0


def test_edges_are_checked():
    logits, labels = synthetic(1.0, 10)
    for edges in ([0, 0.5, 0.5, 1], [0.1, 1], [0, 2], [0.5]):
        with pytest.raises(ValueError, match="rise from 0 to 1"):
            reliability(logits, labels, edges)


def test_the_diagram_has_a_line_for_each_table():
    logits, labels = synthetic(3.0, 500)
    ax = reliability_diagram(
        {"before": reliability(logits, labels), "after": reliability(logits / 3, labels)}
    )
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert len(ax.lines) == 3 and names[0].startswith("before, ECE 0.") and len(names) == 2
    assert (ax.lines[0].get_xdata() == ax.lines[0].get_ydata()).all(), "the diagonal"
    assert len(reliability_diagram(reliability(logits, labels)).lines) == 2
