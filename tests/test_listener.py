"""The digit listener, what it is trained on, and the report on how it hears strangers."""

import numpy as np
import pytest
import soundfile
import torch
from torchaudio.functional import lowpass_biquad, resample

from mmbook import Modality, MultimodalModel
from mmbook.book.datasets import Digits
from mmbook.book.recipes import digit_listener
from mmbook.book.recipes.digits import Rerecorded, listener
from mmbook.book.voice_augment import VoiceAugmenter
from mmbook.data import FilesSkipped
from mmbook.encoders import LogMel, TelephoneMel
from mmbook.evaluate import spoken_digits
from mmbook.fusion import build_fusion
from mmbook.heads import Classification
from mmbook.models import Features

RATE = 8_000
NOTHING = {"speed": 0, "edges": 0, "room": 0, "microphone": 0, "noise": 0, "clip": 0}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def digits() -> Digits:
    return Digits("test", ("audio",))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, digits):
    """Six test voices in the format of the Free Spoken Digit Dataset, at its rate, and one broken file."""
    place = tmp_path_factory.mktemp("fsdd")
    for speaker in sorted(set(digits.clusters["voice"]))[:6]:
        for i in np.flatnonzero(digits.clusters["voice"] == speaker):
            sound = resample(digits[int(i)]["audio"], 16_000, RATE)
            soundfile.write(place / f"{digits.labels[i]}_voice{speaker}_0.wav", sound.numpy(), RATE)
    (place / "3_nobody_0.wav").write_bytes(b"RIFF")
    return place


def test_the_listener_is_small_and_hears_voices_it_never_met(folder):
    model = digit_listener()
    assert sum(p.numel() for p in model.parameters()) <= 1_000_000
    assert model.classes == list(Digits.classes)
    with pytest.warns(FilesSkipped):
        report = spoken_digits(model, folder)
    assert report.accuracy.mean > 0.85
    assert report.accuracy.low <= report.accuracy.mean <= report.accuracy.high


def test_the_report_counts_what_predict_says_about_the_same_files(folder):
    model = digit_listener()
    with pytest.warns(FilesSkipped):
        report = spoken_digits(model, folder, batch_size=7)
    files = sorted(folder.glob("*_voice*.wav"))
    answers = model.predict([{"audio": file} for file in files])
    confusion, right = np.zeros((10, 10), int), {}
    for file, answer in zip(files, answers, strict=True):
        digit, speaker, _ = file.stem.split("_")
        heard = Digits.classes.index(answer["label"])
        confusion[int(digit), heard] += 1
        right.setdefault(speaker, []).append(heard == int(digit))
    assert (report.confusion == confusion).all()
    assert report.accuracy.mean == pytest.approx(confusion.trace() / confusion.sum())
    table = report.speakers.set_index("speaker")
    assert table["recordings"].to_dict() == {name: len(found) for name, found in right.items()}
    assert table["accuracy"].to_dict() == pytest.approx({n: np.mean(found) for n, found in right.items()})
    assert report.speakers["accuracy"].is_monotonic_increasing
    assert [path.rsplit("/", 1)[-1] for path, _ in report.skipped] == ["3_nobody_0.wav"]
    assert "1 files skipped" in str(report) and "60 recordings" in str(report)


def test_one_speaker_says_nothing_of_others(folder, tmp_path):
    for file in list(folder.glob("*_voice*.wav"))[:1]:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    accuracy = spoken_digits(listener(), tmp_path).accuracy
    assert accuracy.mean in (0, 1) and np.isnan(accuracy.low) and np.isnan(accuracy.high)


def test_a_model_that_does_not_fit_is_refused(folder):
    with pytest.raises(ValueError, match="2 classes"), pytest.warns(FilesSkipped):
        spoken_digits(listener(["yes", "no"]), folder)
    fusion = build_fusion("concat", {"text": 4}, 4)
    with pytest.raises(ValueError, match="reads text"):
        spoken_digits(MultimodalModel({"text": Features(4)}, fusion, Classification(4, 10)), folder)


def test_it_is_the_same_after_saving(tmp_path, digits):
    model = digit_listener()
    model.save_pretrained(tmp_path)
    again = MultimodalModel.from_pretrained(tmp_path)
    sound = digits[0]["audio"][None]
    with torch.no_grad():
        torch.testing.assert_close(again(audio=sound).logits, model(audio=sound).logits)


# --- the front end


def test_frames_do_not_change_with_level_or_microphone(digits):
    mel, plain = TelephoneMel(), LogMel(n_fft=512)
    wave = digits[0]["audio"][None]
    real = torch.ones_like(wave, dtype=torch.bool)
    frames = mel(Modality(wave, real)).values
    torch.testing.assert_close(mel(Modality(wave * 0.03, real)).values, frames, atol=1e-3, rtol=1e-3)
    dull = lowpass_biquad(wave, 16_000, 1500.0)
    moved = (mel(Modality(dull, real)).values - frames).abs().mean() / frames.abs().mean()
    before, after = (plain(Modality(sound, real)).values[..., :48] for sound in (wave, dull))
    assert moved < 0.6 * (after - before).abs().mean() / before.abs().mean()


def test_frames_are_blind_to_padding_and_to_what_lies_under_it(digits):
    mel = TelephoneMel()
    rows = [digits[i]["audio"] for i in range(3)]
    longest = max(len(row) for row in rows) + 900
    values, mask = torch.full((4, longest), float("nan")), torch.zeros(4, longest, dtype=torch.bool)
    for i, row in enumerate(rows):
        values[i, : len(row)], mask[i, : len(row)] = row, True
    batch = mel(Modality(values, mask))
    assert batch.values.isfinite().all() and not batch.mask[3].any() and (batch.values[3] == 0).all()
    for i, row in enumerate(rows):
        alone = mel(Modality(row[None], torch.ones(1, len(row), dtype=torch.bool)))
        count = alone.mask.sum()
        assert batch.mask[i].sum() == count
        torch.testing.assert_close(batch.values[i, :count], alone.values[0], atol=1e-5, rtol=1e-5)


def test_nothing_above_four_kilohertz_is_read():
    time = torch.arange(16_000) / 16_000
    low, high = torch.sin(2 * torch.pi * 700 * time), torch.sin(2 * torch.pi * 6000 * time)
    real = torch.ones(1, 16_000, dtype=torch.bool)
    mel = TelephoneMel()
    heard = mel(Modality((low + high)[None], real)).values
    torch.testing.assert_close(heard, mel(Modality(low[None], real)).values, atol=0.1, rtol=0)


# --- the changes


def test_a_change_is_a_pure_function_of_sound_and_seed(digits):
    sound, augment = digits[0]["audio"], VoiceAugmenter()
    assert torch.equal(augment(sound, 5), augment(sound, 5))
    assert len({tuple(augment(sound, seed)[:50].tolist()) for seed in range(8)}) == 8
    state = torch.random.get_rng_state()
    augment(sound, 1)
    assert torch.equal(state, torch.random.get_rng_state()), "the reader's own draws must not move"


def test_without_any_step_only_the_level_changes(digits):
    sound = digits[0]["audio"]
    same = VoiceAugmenter(**NOTHING)(sound, 3)
    torch.testing.assert_close(same, sound * 0.5 / sound.abs().max())


@pytest.mark.parametrize("step", NOTHING)
def test_each_step_changes_the_sound_and_keeps_it_finite(step, digits):
    augment = VoiceAugmenter(**NOTHING | {step: 0.1 if step == "speed" else 1})
    sound = digits[0]["audio"]
    same = VoiceAugmenter(**NOTHING)(sound, 0)
    for seed in range(5):
        changed = augment(sound, seed)
        assert (
            changed.isfinite().all() and changed.abs().max() <= 0.5 + 1e-6 and changed.dtype == torch.float32
        )
        assert changed.shape != same.shape or not torch.allclose(changed, same, atol=1e-4)


def test_noise_lies_between_3_and_40_db_below_the_speech(digits):
    sound, augment = digits[0]["audio"], VoiceAugmenter(**NOTHING | {"noise": 1})
    for seed in range(10):
        mixed = augment(sound, seed)
        share = (mixed @ sound) / (sound @ sound)  # least squares: the mix is share * speech + noise
        noise = mixed - share * sound
        ratio = 10 * torch.log10((share * sound).square().mean() / noise.square().mean())
        assert 2 < ratio < 41


@pytest.mark.parametrize("sound", [torch.zeros(4000), torch.ones(1), torch.zeros(1), torch.randn(30)])
def test_silent_and_very_short_sounds_stay_finite(sound):
    for seed in range(20):
        assert VoiceAugmenter()(sound, seed).isfinite().all()


def test_bad_arguments_are_refused():
    for options in ({"noise": 1.2}, {"room": -0.1}, {"speed": -1}, {"microphone": -3}):
        with pytest.raises(ValueError, match=next(iter(options))):
            VoiceAugmenter(**options)
    for sound in (torch.zeros(0), torch.zeros(2, 100)):
        with pytest.raises(ValueError, match="shape"):
            VoiceAugmenter()(sound, 0)


def test_each_epoch_hears_each_recording_anew(digits):
    rows = Rerecorded(digits, VoiceAugmenter(), times=3, seed=4)
    assert len(rows) == 3 * len(digits)
    first, second = rows[7], rows[len(digits) + 7]
    assert first["labels"] == second["labels"] == digits[7]["labels"]
    assert first["audio"].shape != second["audio"].shape or not torch.equal(first["audio"], second["audio"])
    assert torch.equal(first["audio"], Rerecorded(digits, VoiceAugmenter(), times=3, seed=4)[7]["audio"])
    other = Rerecorded(digits, VoiceAugmenter(), times=3, seed=5)[7]["audio"]
    assert first["audio"].shape != other.shape or not torch.equal(first["audio"], other)
    with pytest.raises(IndexError):
        rows[len(rows)]
