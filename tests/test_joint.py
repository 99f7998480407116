"""The declared joint table: its ceilings are what enumeration gives, and it tells the stories it promises."""

import itertools
import math

import numpy as np
import pytest

from mmbook.book.datasets.joint import (
    MODALITIES,
    TABLE,
    Cell,
    ceiling,
    ceilings,
    confusion,
    joint,
    perceived,
)

SUBSETS = [subset for size in range(4) for subset in itertools.combinations(MODALITIES, size)]
EXPECTED_ERRORS = {"text": 0.22, "image": 0.10, "audio": 0.10}


def best_of_all_predictors(subset: tuple[str, ...], p: np.ndarray) -> float:
    """Accuracy of the best of all 2^(2^k) functions from k feelings to a label, by trying each."""
    axes = [MODALITIES.index(name) for name in subset]
    inputs = list(itertools.product((0, 1), repeat=len(subset)))
    best = 0.0
    for answers in itertools.product((0, 1), repeat=len(inputs)):
        guess = dict(zip(inputs, answers, strict=True))
        right = sum(
            p[c] for c in itertools.product((0, 1), repeat=4) if guess[tuple(c[a] for a in axes)] == c[3]
        )
        best = max(best, right)
    return best


@pytest.mark.parametrize("subset", SUBSETS)
@pytest.mark.parametrize("errors", [{}, EXPECTED_ERRORS, {"audio": np.array([[0.7, 0.3], [0.05, 0.95]])}])
def test_accuracy_is_that_of_the_best_predictor(subset, errors):
    p = perceived(errors)
    assert ceiling(subset, p).accuracy == pytest.approx(best_of_all_predictors(subset, p), abs=1e-12)


@pytest.mark.parametrize("subset", SUBSETS)
def test_cross_entropy_is_label_entropy_less_mutual_information(subset):
    p = joint()
    hidden = tuple(i for i, name in enumerate(MODALITIES) if name not in subset)
    both = p.sum(axis=hidden).reshape(-1, 2)
    product = both.sum(1, keepdims=True) * both.sum(0, keepdims=True)
    information = (both * np.log(both / product)).sum()
    label = -(both.sum(0) * np.log(both.sum(0))).sum()
    assert ceiling(subset).cross_entropy == pytest.approx(label - information, abs=1e-12)


@pytest.mark.parametrize("errors", [None, EXPECTED_ERRORS])
def test_more_modalities_are_never_worse(errors):
    found = ceilings(errors=errors)
    assert next(iter(found)) == () and list(found)[-1] == MODALITIES and len(found) == 8
    for small, large in itertools.product(SUBSETS, SUBSETS):
        if set(small) <= set(large):
            assert found[small].accuracy <= found[large].accuracy + 1e-12
            assert found[small].cross_entropy >= found[large].cross_entropy - 1e-12


@pytest.mark.parametrize("name", MODALITIES)
def test_a_coin_instead_of_a_modality_is_as_good_as_none(name):
    others = tuple(other for other in MODALITIES if other != name)
    blind = ceilings(errors={name: 0.5})
    assert blind[MODALITIES] == pytest.approx(ceilings()[others], abs=1e-12)


@pytest.mark.parametrize("name", MODALITIES)
def test_always_wrong_is_as_good_as_always_right(name):
    assert ceilings(errors={name: 1.0})[MODALITIES] == pytest.approx(ceilings()[MODALITIES], abs=1e-12)


def test_ceiling_falls_as_errors_grow():
    scores = [
        ceilings(errors=dict.fromkeys(MODALITIES, e))[MODALITIES].accuracy for e in np.linspace(0, 0.5, 11)
    ]
    assert all(a > b - 1e-12 for a, b in itertools.pairwise(scores))


def test_exclusive_or_needs_both():
    """Text XOR image: each alone, and the audio, know nothing; together everything."""
    table = [Cell(t, f, v, "xor", 0.125, float(t ^ f)) for t, f, v in itertools.product((0, 1), repeat=3)]
    found = ceilings(table)
    for subset in SUBSETS:
        knows = {"text", "image"} <= set(subset)
        assert found[subset].accuracy == pytest.approx(1.0 if knows else 0.5)
        assert found[subset].cross_entropy == pytest.approx(0.0 if knows else math.log(2), abs=1e-12)


def test_default_table_is_balanced_and_every_modality_matters():
    assert joint()[..., 1].sum() == pytest.approx(0.5)
    found = {subset: score.accuracy for subset, score in ceilings().items()}
    for subset in SUBSETS:
        if len(subset) == 1:
            assert found[()] + 0.1 < found[subset] < 0.75
        if len(subset) == 2:
            assert max(found[(name,)] for name in subset) < found[subset] < found[MODALITIES] - 0.1


def test_with_expected_misperception_all_three_still_beat_the_rest():
    found = {subset: score.accuracy for subset, score in ceilings(errors=EXPECTED_ERRORS).items()}
    assert found[MODALITIES] > max(found[(name,)] for name in MODALITIES) + 0.06
    assert found[MODALITIES] > max(found[pair] for pair in SUBSETS if len(pair) == 2) + 0.02


def test_stories():
    """Agreement: any feeling tells the label. Irony: the smile's sign turns with the voice."""
    positive = {cell[:3]: cell.positive for cell in TABLE}
    assert {cell.story for cell in TABLE if len(set(cell[:3])) == 1} == {"agreement"}
    for cell in TABLE:
        if cell.story == "agreement":
            assert (cell.positive > 0.5) == bool(cell.text)
        if cell.story == "words only":
            assert (cell.positive > 0.5) == bool(cell.text)
            assert (
                0 in (cell.image ^ cell.text, cell.audio ^ cell.text) or cell.image == cell.audio != cell.text
            )
        if cell.story == "face and voice only":
            assert cell.image == cell.audio != cell.text and (cell.positive > 0.5) == bool(cell.image)
        if cell.story == "irony":
            assert cell.text == 1 and cell.image != cell.audio and cell.positive < 0.5
    smile = [positive[1, 1, voice] - positive[1, 0, voice] for voice in (0, 1)]
    assert smile[0] < 0 < smile[1]
    cheer = [positive[1, face, 1] - positive[1, face, 0] for face in (0, 1)]
    assert cheer[0] < 0 < cheer[1]


def test_bad_tables_and_errors_are_refused():
    with pytest.raises(ValueError, match="each of the 8 combinations"):
        joint(TABLE[:-1])
    with pytest.raises(ValueError, match=r"sum to 0\.9"):
        joint([*TABLE[:-1], TABLE[-1]._replace(share=0.1)])
    with pytest.raises(ValueError, match="outside"):
        joint([*TABLE[:-1], TABLE[-1]._replace(positive=1.1)])
    with pytest.raises(ValueError, match="'video' is no modality"):
        ceilings(errors={"video": 0.1})
    with pytest.raises(ValueError, match="'video' is no modality"):
        ceiling(("video",))
    for wrong in (1.5, np.eye(3), np.array([[0.5, 0.6], [0.5, 0.5]])):
        with pytest.raises(ValueError, match="rate in"):
            confusion(wrong)
