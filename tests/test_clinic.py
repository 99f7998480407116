"""The made-up clinic: its splits share nothing, its parts only the class, and it says so."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections import Counter

import numpy as np
import pytest
import torch

from mmbook import assets, collate
from mmbook.book.datasets import Clinic, dictation, xrays
from mmbook.book.datasets import report_sentences as reports
from mmbook.book.datasets.clinic import MODALITIES, SIZES
from mmbook.book.datasets.speech import VOICES
from mmbook.book.datasets.splits import SPLITS


@pytest.fixture(scope="module")
def clinics() -> dict[str, Clinic]:
    return {split: Clinic(split, seed=3) for split in SPLITS}


def test_a_row_is_what_the_encoders_read() -> None:
    rows = [Clinic("valid")[i] for i in (0, -1)]
    batch = collate(rows)
    assert batch["image"].shape == (2, 1, 3, 224, 224) and batch["text"].dtype == torch.long
    assert batch["audio"].dim() == 2 and float(batch["audio"].abs().max()) <= 1
    assert min(len(row["audio"]) for row in rows) > 0.5 * 16_000
    assert rows[0].keys() == {*MODALITIES, "labels", "id"}
    assert Clinic("valid", modalities=("text",))[0].keys() == {"text", "labels", "id"}


def test_splits_share_no_picture_patient_sentence_report_or_voice(clinics) -> None:
    """Whatever the seed: the pools themselves are apart, and rows are dealt from their split's pool."""
    pools: dict[str, list[set[object]]] = {"patient": [], "picture": [], "sentence": [], "report": []}
    with zipfile.ZipFile(assets.path("chest-xrays")) as archive:
        for split in SPLITS:
            pictures = [xrays.xrays()[i] for i in xrays.xray_indices(split)]
            sentences = [reports.report_sentences()[i] for i in reports.report_indices(split)]
            pools["patient"].append({xray.patient for xray in pictures})
            pools["picture"].append({hashlib.sha256(archive.read(xray.file)).digest() for xray in pictures})
            pools["sentence"].append({re.sub("[^a-z]", "", s.text.lower()) for s in sentences})
            pools["report"].append({s.report for s in sentences})
    for name, sets in pools.items():
        assert all(sets) and sum(map(len, sets)) == len(set.union(*sets)), name
    for split, clinic in clinics.items():
        assert {reports.report_sentences()[i].split for i in (*clinic._text, *clinic._audio)} == {split}
        assert {xrays.xrays()[i].split for i in clinic._image} == {split}


def test_a_voice_is_in_one_split(clinics) -> None:
    assert {VOICES[i].split for i in clinics["valid"].clusters["voice"]} == {"valid"}
    spoken = dictation.dictation("valid")
    assert len(spoken.voice) == len(reports.report_indices("valid"))
    assert np.abs(spoken.sound(0)).max() > 0.01


def test_the_parts_share_the_class_and_nothing_else(clinics) -> None:
    """Classes are even, every part has the row's class, and no row dictates its own sentence."""
    for split, clinic in clinics.items():
        assert len(clinic) == SIZES[split] and clinic.labels.mean() == 0.5
        sentences = reports.report_sentences()
        for parts in (clinic._text, clinic._audio):
            assert [sentences[i].label for i in parts] == clinic.labels.tolist()
            used = [Counter(parts[clinic.labels == label]) for label in (0, 1)]
            for counts, label in zip(used, (0, 1), strict=True):
                pool = [i for i in reports.report_indices(split) if sentences[i].label == label]
                uses = [counts[i] for i in pool]
                assert max(uses) - min(uses) <= 1  # all are used before one is used again
        assert [xrays.xrays()[i].label for i in clinic._image] == clinic.labels.tolist()
        assert (clinic._text != clinic._audio).all()


def test_the_draw_depends_on_the_seed_alone() -> None:
    one, same, other = Clinic("test", seed=1), Clinic("test", seed=1), Clinic("test", seed=2)
    assert all((one.__dict__[k] == same.__dict__[k]).all() for k in ("_text", "_image", "_audio", "labels"))
    assert (one._image != other._image).any() and (one._text != other._text).any()


def test_given_the_class_the_parts_are_dealt_independently(clinics) -> None:
    """Which picture a row has says nothing about its sentence: the shares of long sentences agree."""
    clinic = clinics["train"]
    long = np.array([len(reports.report_sentences()[i].text.split()) > 6 for i in clinic._text])
    for label in (0, 1):
        early = clinic._image < np.median(clinic._image[clinic.labels == label])
        here = clinic.labels == label
        a, b = long[here & early], long[here & ~early]
        error = np.sqrt(a.var() / len(a) + b.var() / len(b))
        assert abs(a.mean() - b.mean()) < 4 * error


def test_the_class_of_a_sentence_is_the_code_of_its_report() -> None:
    """Not a word in it: negated and affirmed mentions stand in the class that annotators gave the report."""
    sentences = reports.report_sentences()
    assert all("XXXX" not in s.text and not re.search(r"\d", s.text) for s in sentences)
    words = [len(s.text.split()) for s in sentences]
    assert min(words) >= reports.MIN_WORDS and max(words) <= reports.MAX_WORDS
    named = Counter(s.label for s in sentences if "consolidation" in s.text.lower())
    assert named[0] > 0 and named[1] > 0
    assert all(count > 0 for count in reports.left_out().values())


def test_patients_of_the_package_cross_its_split_but_not_ours() -> None:
    """Why we do not use the package's own split."""
    folders: dict[str, set[str]] = {}
    for xray in xrays.xrays():
        folders.setdefault(xray.patient, set()).add(xray.file.split("/")[3])
    assert any(len(sides) == 2 for sides in folders.values())


def test_show_has_picture_player_and_the_warning() -> None:
    clinic = Clinic("valid")
    page = clinic.show(0).data
    assert "Never for clinical use" in page and "no such patient" in page and "<audio controls" in page
    assert "Never for clinical use" in (Clinic.__doc__ or "").replace("\n", " ")
    case = clinic.raw(0)
    assert case.picture.size == (224, 224) and case.sentence != case.dictated
    case.picture.save(io.BytesIO(), "PNG")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="'dev'; it must be one of train, valid, test"):
        Clinic("dev")
    with pytest.raises(ValueError, match="'video'; it must be one of text, image, audio"):
        Clinic("test", modalities=("video",))
