"""The error browser shows the worst mistakes first, and everything of them inside the page."""

import base64
import io

import numpy as np
import pytest
import torch
from IPython.display import HTML
from PIL import Image

from mmbook.book.errors import browse_errors
from mmbook.data.arrays import from_arrays
from mmbook.evaluate import MissingAtRandom
from mmbook.preprocess import ImageProcessor

LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
LOGITS = torch.tensor([[9.0, 0, 0], [4.0, 0, 0], [0, 0, 1.0], [0, 0, 6.0], [0.0, 5.0, 0], [0.0, 0.2, 0.0]])


class Rows(torch.utils.data.Dataset):
    labels = LABELS
    modalities = ("image", "audio", "text", "features")

    def __len__(self):
        return 6

    def __getitem__(self, i):
        return {
            "image": ImageProcessor(8)(torch.full((3, 8, 8), 40 * i, dtype=torch.uint8)),
            "audio": torch.full((160,), 0.1 * i),
            "text": torch.arange(i, i + 3),
            "features": None if i == 3 else torch.zeros(2, 7),
            "labels": LABELS[i],
            "id": i,
        }


class Shown(Rows):
    classes = ("cat", "dog", "<bird>")

    def show(self, index):
        return HTML(f"<em>card of {index}</em>")


def test_the_surest_mistakes_come_first():
    found = browse_errors(Rows(), LOGITS, k=2)
    assert (found.count, found.total) == (3, 6)
    assert found.table["index"].tolist() == [3, 1] and found.table.predicted.tolist() == ["2", "0"]
    assert found.table.confidence.tolist() == pytest.approx(LOGITS[[3, 1]].softmax(1).amax(1).tolist())
    assert found.table.confidence.is_monotonic_decreasing
    assert len(browse_errors(Rows(), LOGITS, k=20).table) == 3


def test_a_page_holds_picture_sound_and_text():
    page = browse_errors(Rows(), LOGITS, k=1, decode={"text": lambda ids: f"<{ids.tolist()}>"})._repr_html_()
    picture = base64.b64decode(page.split("data:image/png;base64,")[1].split('"')[0])
    assert np.asarray(Image.open(io.BytesIO(picture))).mean() == pytest.approx(120, abs=2)
    sound = base64.b64decode(page.split("data:audio/wav;base64,")[1].split('"')[0])
    assert sound[:4] == b"RIFF" and len(sound) == 44 + 2 * 160
    assert 'alt="image of sample 3"' in page and 'aria-label="audio of sample 3"' in page
    assert "&lt;[3, 4, 5]&gt;" in page and "features: missing" in page and "http" not in page
    assert "features: numbers, 2 × 7" in browse_errors(Rows(), LOGITS)._repr_html_()
    assert "text: ids, 3" in browse_errors(Rows(), LOGITS)._repr_html_()


def test_a_dataset_that_can_show_itself_does():
    page = browse_errors(Shown(), LOGITS)._repr_html_()
    assert "card of 3" in page and "predicted <strong>&lt;bird&gt;</strong>" in page and "<img" not in page
    assert "predicted <strong>C</strong>" in browse_errors(Shown(), LOGITS, ["A", "B", "C"])._repr_html_()


def test_what_a_corrupted_view_shows_is_what_the_model_saw():
    assert "image: missing" in browse_errors(MissingAtRandom(Rows(), {"image": 1.0}), LOGITS)._repr_html_()


def test_numbers_by_the_size_of_their_error():
    data = from_arrays({"x": np.zeros((4, 2))}, np.array([0.0, 1.0, 2.0, 3.0]))
    found = browse_errors(data, torch.tensor([0.0, 1.5, 0.0, 3.1]))
    assert found.table["index"].tolist() == [2, 1, 3] and found.table.error.iloc[0] == 2
    assert found.count == 3 and "predicted <strong>1.5</strong>" in found._repr_html_()


def test_without_mistakes_it_says_so():
    found = browse_errors(Rows(), 9.0 * torch.eye(3)[LABELS])
    assert found.count == 0 and found.table.empty
    assert "0 of 6 answers differ from the label" in found._repr_html_()


def test_answers_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(5, 3\)"):
        browse_errors(Rows(), LOGITS[:5])
