"""Handwritten and spoken digits: real pictures, made voices, paired by class, splits that share nothing."""

import numpy as np
import pytest
import torch

from mmbook import collate
from mmbook.book.datasets import Digits
from mmbook.book.datasets.digits import MEAN, STD, handwritten
from mmbook.book.datasets.formant_voices import PHONES, WORDS, formants, say
from mmbook.book.datasets.splits import SPLITS
from mmbook.book.datasets.spoken_digits import KINDS, RATE, VOICES, synthetic_digits
from mmbook.seeding import stream


def test_rows_follow_the_row_format_and_collate():
    digits = Digits("valid")
    row = digits[-1]
    assert list(row) == ["image", "audio", "labels", "id"]
    assert row["image"].shape == (1, 3, 28, 28) and row["image"].dtype == torch.float32
    assert row["audio"].dim() == 1 and row["audio"].dtype == torch.float32
    assert row["id"] == len(digits) - 1 and row["labels"] == digits.labels[-1]
    batch = collate([digits[i] for i in range(5)])
    assert batch["image"].shape == (5, 1, 3, 28, 28) and batch["audio"].shape == batch["audio_mask"].shape
    with pytest.raises(IndexError):
        digits[len(digits)]


@pytest.mark.parametrize("split", SPLITS)
def test_what_is_paired_is_of_one_class(split):
    digits = Digits(split, count=200, seed=2)
    pictures, labels = handwritten(split)
    spoken = synthetic_digits()
    for i in range(len(digits)):
        raw, row = digits.raw(i), digits[i]
        assert raw.label == digits.labels[i] == labels[digits._part[i]] == spoken.digit[digits._sound[i]]
        assert np.array_equal(np.array(raw.picture), pictures[digits._part[i]])
        assert torch.equal(row["audio"], torch.from_numpy(raw.sound))
        ink = row["image"] * STD + MEAN
        torch.testing.assert_close(ink[0, 0], ink[0, 2])
        torch.testing.assert_close(ink[0, 1] * 255, torch.from_numpy(np.array(raw.picture)).float())


def test_pictures_are_standardised_over_the_training_file():
    pixels = np.concatenate([handwritten(split)[0].ravel() for split in ("train", "valid")]) / np.float32(255)
    assert pixels.mean() == pytest.approx(MEAN, abs=1e-3) and pixels.std() == pytest.approx(STD, abs=1e-3)


def test_splits_share_no_picture_and_no_voice():
    voices = {s: set(Digits(s, ("audio",)).clusters["voice"].tolist()) for s in SPLITS}
    pictures = {s: {picture.tobytes() for picture in handwritten(s)[0]} for s in SPLITS}
    for a, b in (("train", "valid"), ("train", "test"), ("valid", "test")):
        assert not voices[a] & voices[b]
        assert not pictures[a] & pictures[b]
    assert {s: len(found) for s, found in voices.items()} == VOICES


def test_sizes_and_classes():
    assert {s: len(Digits(s, ("image",))) for s in SPLITS} == {
        "train": 50_000,
        "valid": 10_000,
        "test": 10_000,
    }
    for split in SPLITS:
        assert np.bincount(Digits(split, ("audio",)).labels).tolist() == [VOICES[split]] * 10
    assert Digits.classes[3] == "three" and len(Digits.classes) == 10


def test_one_modality_loads_only_itself(monkeypatch):
    def refuse(*_):
        raise AssertionError("must not be loaded")

    with monkeypatch.context() as patch:
        patch.setattr("mmbook.book.datasets.digits.handwritten", refuse)
        row = Digits("valid", ("audio",))[0]
        assert list(row) == ["audio", "labels", "id"]
    with monkeypatch.context() as patch:
        patch.setattr("mmbook.book.datasets.digits.synthetic_digits", refuse)
        digits = Digits("valid", ("image",))
        assert list(digits[0]) == ["image", "labels", "id"] and digits.clusters == {}


def test_count_is_even_over_classes_and_the_seed_decides_which():
    digits = Digits("test", count=105, seed=1)
    assert sorted(np.bincount(digits.labels)) == [10] * 5 + [11] * 5
    same, other = Digits("test", count=105, seed=1), Digits("test", count=105, seed=2)
    assert all(torch.equal(digits[i]["audio"], same[i]["audio"]) for i in range(105))
    assert not all(torch.equal(digits[i]["image"], other[i]["image"]) for i in range(105))


def test_recordings_are_used_evenly():
    digits = Digits("valid")
    uses = np.bincount(digits._sound)[np.unique(digits._sound)]
    for digit in range(10):
        own = np.bincount(digits._sound[digits.labels == digit])
        own = own[own > 0]
        assert len(own) == VOICES["valid"] and own.max() - own.min() <= 1
    assert uses.sum() == len(digits)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_of_voice_is_half_of_them(kind):
    digits = Digits("test", ("audio",), kind=kind)
    assert len(digits) == 10 * VOICES["test"] // 2
    assert set(digits.clusters["voice"] % 2) == {KINDS.index(kind)}


def test_sound_is_speech_at_16_khz_and_never_clipped():
    spoken = synthetic_digits()
    assert RATE == 16_000 and len(spoken.ends) == 10 * sum(VOICES.values())
    for i in range(0, len(spoken.ends), 13):
        sound = spoken.sound(i)
        assert sound.dtype == np.float32 and 0.1 < len(sound) / RATE < 2
        assert np.abs(sound).max() == pytest.approx(0.5, abs=1e-3)
        assert np.abs(sound[[0, -1]]).max() < 0.01, "no click at the ends"


def test_a_larger_mouth_has_lower_formants_and_pitch_is_the_voices_own():
    """The rules do what they say: the spectrum moves with the tract, the pitch stays near the voice's own."""
    who = formants(stream("test"))
    centres = []
    for tract in (0.9, 1.1, 1.3):
        voice = who._replace(tract=tract, pitch=150.0, rise=0.0)
        harmonic, noise, pitch = say(5, voice, stream("habit"), stream("take"))
        assert harmonic.shape == noise.shape == (601, len(pitch)) and np.isfinite(harmonic).all()
        voiced = pitch > 0
        assert 0.7 < np.median(pitch[voiced]) / 150 < 1.4
        power = np.exp(2 * harmonic[:, voiced]).sum(axis=1)
        centres.append((power * np.arange(601)).sum() / power.sum())
    assert centres == sorted(centres)


def test_every_word_is_spelt_in_known_phones():
    assert set("".join(word for ways in WORDS for word in ways)) <= set(PHONES) and len(WORDS) == 10


def test_show_is_accessible_and_needs_no_network():
    html = Digits("valid", count=10).show(0).data
    assert 'alt="a handwritten digit"' in html and "aria-label" in html and "controls" in html
    assert "http" not in html and "<details>" in html
    assert "<img" not in Digits("valid", ("audio",), count=10).show(0).data
    assert "<audio" not in Digits("valid", ("image",), count=10).show(0).data


def test_bad_arguments_are_refused_with_the_allowed_ones():
    with pytest.raises(ValueError, match="'dev'; it must be one of train, valid, test"):
        Digits("dev")
    with pytest.raises(ValueError, match="image, audio"):
        Digits("valid", ("video",))
    with pytest.raises(ValueError, match="image, audio"):
        Digits("valid", ())
    with pytest.raises(ValueError, match="neural, formant"):
        Digits("valid", ("audio",), kind="human")
    with pytest.raises(ValueError, match="count is 0"):
        Digits("valid", count=0)
    with pytest.raises(ValueError, match="count is 401; .*400"):
        Digits("valid", ("audio",), count=401)
