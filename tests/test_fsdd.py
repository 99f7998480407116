"""A folder in the format of the Free Spoken Digit Dataset: what is read, what is skipped and said so."""

import numpy as np
import pytest
import soundfile
import torch

from mmbook import collate
from mmbook.data import FSDD, FilesSkipped

RATE = 8_000


def write(folder, name: str, hertz: float = 400.0, seconds: float = 0.4, rate: int = RATE) -> None:
    time = np.arange(int(rate * seconds)) / rate
    soundfile.write(folder / name, 0.5 * np.sin(2 * np.pi * hertz * time), rate, subtype="PCM_16")


@pytest.fixture
def folder(tmp_path):
    for digit in range(10):
        for speaker in ("anna", "bert", "carl"):
            write(tmp_path, f"{digit}_{speaker}_0.wav", hertz=300 + 100 * digit)
    return tmp_path


def test_rows_are_sounds_at_16_khz_with_label_and_speaker(folder, recwarn):
    data = FSDD(folder)
    assert len(data) == 30 and not data.skipped and not recwarn.list
    row = data[data.labels.tolist().index(7)]
    assert row["labels"] == 7 and row["audio"].dtype == torch.float32
    assert row["audio"].shape == (int(0.4 * 16_000),)
    peak = torch.fft.rfft(row["audio"]).abs().argmax() / 0.4
    assert peak == pytest.approx(300 + 100 * 7, abs=3), "the pitch must survive the change of rate"
    assert set(data.speakers) == {"anna", "bert", "carl"} == set(data.clusters["speaker"])
    batch = collate([data[i] for i in range(4)])
    assert batch["labels"].tolist() == data.labels[:4].tolist()
    assert batch["audio"].shape == batch["audio_mask"].shape


def test_the_repository_with_its_subfolder_is_read_the_same(folder, tmp_path_factory):
    clone = tmp_path_factory.mktemp("clone")
    (clone / "recordings").symlink_to(folder)
    (clone / "README.md").write_text("not a recording")
    assert [row["labels"] for row in FSDD(clone)] == [row["labels"] for row in FSDD(folder)]


def test_bad_files_are_skipped_with_reason_count_and_one_warning(folder):
    whole = (folder / "3_anna_0.wav").read_bytes()
    bad = {
        "3_dora_0.wav": (whole[: len(whole) // 2], "cut off"),
        "4_dora_0.wav": (b"", "cannot read a sound"),
        "5_dora_0.wav": (b"this is text", "cannot read a sound"),
        "12_dora_0.wav": (whole, "digit is 12"),
        "seven_dora_0.wav": (whole, "name is not"),
        "7_dora.wav": (whole, "name is not"),
        "notes.txt": (b"x", "name is not"),
    }
    for name, (content, _) in bad.items():
        (folder / name).write_bytes(content)
    soundfile.write(folder / "6_dora_0.wav", np.zeros(0), RATE)
    bad["6_dora_0.wav"] = (b"", "no samples")
    with pytest.warns(FilesSkipped, match=f"^{len(bad)} files") as caught:
        data = FSDD(folder)
    assert len(caught) == 1
    assert len(data) == len(data.labels) == len(data.speakers) == 30 and "dora" not in data.speakers
    reasons = {path.rsplit("/", 1)[-1]: reason for path, reason in data.skipped}
    assert reasons.keys() == bad.keys()
    for name, (_, part) in bad.items():
        assert part in reasons[name]


def test_a_folder_without_a_usable_recording_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere.*Jakobovski"):
        FSDD(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="is empty"):
        FSDD(tmp_path)
    (tmp_path / "1_anna_0.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match="none of the 1 .*1_anna_0.wav"):
        FSDD(tmp_path)
    (tmp_path / "1_anna_0.wav").rename(tmp_path / "hello.wav")
    with pytest.raises(ValueError, match="none of .*hello.wav"):
        FSDD(tmp_path)
