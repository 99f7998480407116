"""Files as a dataset: a row with a bad file is left out, named, counted; a missing modality is no fault."""

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from mmbook import collate
from mmbook.data import FileDataset, FilesSkipped
from mmbook.preprocess import AudioProcessor, ImageProcessor

PROCESSORS = {"image": ImageProcessor(16), "audio": AudioProcessor()}


@pytest.fixture
def rows(tmp_path):
    random = np.random.default_rng(0)
    made = []
    for i in range(5):
        picture, sound = tmp_path / f"{i}.png", tmp_path / f"{i}.wav"
        Image.fromarray(random.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(picture)
        soundfile.write(sound, random.uniform(-0.5, 0.5, 800 + 100 * i), 16_000)
        made.append({"image": picture, "audio": sound, "labels": i % 2})
    return made


@pytest.mark.parametrize("keep", [True, False])
def test_rows_are_what_the_processors_give(rows, keep):
    data = FileDataset(rows, PROCESSORS, keep=keep)
    assert len(data) == 5 and not data.skipped
    for i, row in enumerate(rows):
        found = data[i]
        assert list(found) == ["image", "audio", "labels", "id"]
        assert found["labels"] == row["labels"] and found["id"] == i
        for name in ("image", "audio"):
            assert torch.equal(found[name], PROCESSORS[name](row[name]))
    assert torch.equal(data[-1]["audio"], data[4]["audio"])
    with pytest.raises(IndexError):
        data[5]


def test_a_row_with_a_bad_file_is_left_out_whole_and_the_others_keep_their_order(rows, tmp_path):
    (tmp_path / "1.png").write_bytes(b"no picture")
    (tmp_path / "3.wav").unlink()
    (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:100])
    with pytest.warns(FilesSkipped, match=r"^3 files") as caught:
        data = FileDataset([row | {"id": 10 + i} for i, row in enumerate(rows)], PROCESSORS)
    assert len(caught) == 1
    assert [row["id"] for row in data] == [10, 12, 14]
    assert [path.rsplit("/", 1)[-1] for path, _ in data.skipped] == ["1.png", "3.png", "3.wav"]
    assert all(path in reason for path, reason in data.skipped), "the reason must name the file"


def test_a_missing_modality_is_a_missing_row_of_the_batch(rows):
    rows[1]["image"] = None
    del rows[2]["image"]
    data = FileDataset(rows, PROCESSORS)
    assert len(data) == 5 and not data.skipped
    batch = collate([data[i] for i in range(5)])
    assert batch["image_mask"].squeeze(1).tolist() == [True, False, False, True, True]


def test_without_labels_rows_have_none(rows):
    data = FileDataset([{"audio": row["audio"]} for row in rows], PROCESSORS)
    assert list(data[0]) == ["audio", "id"]


def test_a_processor_that_is_broken_is_not_taken_for_a_bad_file(rows):
    def broken(path):
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        FileDataset(rows, PROCESSORS | {"audio": broken})


def test_errors_name_what_is_wrong(rows, tmp_path):
    with pytest.raises(ValueError, match="no rows"):
        FileDataset([], PROCESSORS)
    with pytest.raises(ValueError, match="'video'.*image, audio"):
        FileDataset([{"video": "x.mp4"}], PROCESSORS)
    with pytest.raises(ValueError, match=r"none of the 1 rows.*gone\.wav"):
        FileDataset([{"audio": tmp_path / "gone.wav"}], PROCESSORS)
