"""Information in bits: textbook cases, brute force, and dit."""

import itertools

import numpy as np
import pytest

from mmbook.book.datasets import Synthetic
from mmbook.book.written.information import co_information, entropy, mutual_information, partial_information


def table(rule, classes=2):
    """Two fair coins and a label that follows from them."""
    p = np.zeros((2, 2, classes))
    for a, b in itertools.product((0, 1), repeat=2):
        p[a, b, rule(a, b)] = 1 / 4
    return p


COPY = np.zeros((2, 2, 2))
COPY[0, 0, 0] = COPY[1, 1, 1] = 1 / 2
AND = 2 - 0.75 * np.log2(3)  # the entropy of AND, 0.811 bits, also what both sources say together
TEXTBOOK = {  # redundancy, unique, unique, synergy
    "copy": (COPY, (1, 0, 0, 0)),
    "unique": (table(lambda a, b: a), (0, 1, 0, 0)),
    "two unique bits": (table(lambda a, b: 2 * a + b, 4), (0, 1, 1, 0)),
    "XOR": (table(lambda a, b: a ^ b), (0, 0, 0, 1)),
    "AND": (table(lambda a, b: a & b), (AND - 0.5, 0, 0, 0.5)),
}


def random_tables():
    rng = np.random.default_rng(0)
    for shape in ((2, 2, 2), (2, 2, 2), (2, 3, 2), (3, 3, 2), (2, 2, 3), (3, 2, 4)):
        yield rng.dirichlet(np.full(np.prod(shape), 0.7)).reshape(shape)
    sparse = rng.dirichlet(np.ones(12)).reshape(2, 3, 2)
    sparse[0, 1], sparse[1, 2, 0] = 0, 0  # symbols that never meet
    yield sparse / sparse.sum()


@pytest.mark.parametrize("name", TEXTBOOK)
def test_textbook_cases(name):
    p, known = TEXTBOOK[name]
    np.testing.assert_allclose(partial_information(p), known, atol=1e-6)


@pytest.mark.parametrize(
    ("p", "method"),
    [(p, "auto") for p, _ in TEXTBOOK.values()] + [(p, "admui") for p in random_tables()],
)
def test_equals_dit(p, method):
    """On random tables with dit's alternating solver: its default one stops up to 0.02 bits short."""
    import dit
    from dit.algorithms.broja_method import broja_solve_bivariate

    cells = np.argwhere(p > 0)
    pmf = p[tuple(cells.T)]
    d = dit.Distribution(["".join(map(str, cell)) for cell in cells], pmf / pmf.sum())
    unique, _ = broja_solve_bivariate(d, ((0,), (1,)), (2,), method=method, maxiter=5000)
    found = partial_information(p)
    np.testing.assert_allclose(found[1:3], [unique[0,], unique[1,]], atol=1e-3)
    for seen in ([0], [1], [0, 1]):
        assert mutual_information(p, seen) == pytest.approx(dit.shannon.mutual_information(d, seen, [2]))
    assert co_information(p) == pytest.approx(dit.multivariate.coinformation(d), abs=1e-9)


@pytest.mark.parametrize("p", [p for p in random_tables() if p.shape == (2, 2, 2)])
def test_no_distribution_with_the_same_marginals_says_less(p):
    """With two symbols and two labels the set is a rectangle: try a fine grid of it."""
    start = p.sum(1)[:, None] * p.sum(0)[None] / p.sum((0, 1))
    swap = np.array([[1, -1], [-1, 1]])
    ends = [(-min(q[0, 0], q[1, 1]), min(q[0, 1], q[1, 0])) for q in (start[..., 0], start[..., 1])]
    grid = itertools.product(*(np.linspace(low, high, 100) for low, high in ends))
    tried = [start + np.stack([s * swap, t * swap], axis=-1) for s, t in grid]
    least = min(mutual_information(np.clip(q, 0, 1)) for q in tried)
    ours = mutual_information(p) - partial_information(p).synergy
    assert ours <= least + 1e-9
    assert ours == pytest.approx(least, abs=1e-3)


@pytest.mark.parametrize("p", list(random_tables()))
def test_parts_sum_to_the_whole_and_follow_the_sources(p):
    found = partial_information(p)
    assert sum(found) == pytest.approx(mutual_information(p), abs=1e-6)
    assert found.redundancy + found.unique_first == pytest.approx(mutual_information(p, [0]), abs=1e-6)
    assert found.redundancy - found.synergy == pytest.approx(co_information(p), abs=1e-6)
    turned = partial_information(p.transpose(1, 0, 2))
    np.testing.assert_allclose(turned, np.array(found)[[0, 2, 1, 3]], atol=1e-6)


def test_dials_of_the_synthetic_data_are_its_decomposition():
    data = Synthetic("valid", modalities=2, redundancy=0.2, uniqueness={"b": 0.5}, synergy=0.7, size=1)
    np.testing.assert_allclose(partial_information(data.table), (0.2, 0, 0.5, 0.7), atol=1e-5)


def test_entropy_of_coins():
    assert entropy(np.full((2, 2, 2), 1 / 8)) == pytest.approx(3)
    assert entropy(np.array([1.0, 0.0])) == 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mutual_information(np.ones((2, 2))), "sums to 4"),
        (lambda: mutual_information(COPY, [2]), "axes of the sources are 0 to 1"),
        (lambda: partial_information(np.full((2, 2, 2, 2), 1 / 16)), r"\(2, 2, 2, 2\).*two sources"),
    ],
)
def test_refuses(call, words):
    with pytest.raises(ValueError, match=words):
        call()
