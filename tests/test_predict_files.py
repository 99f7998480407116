"""Predicting from files on disk: what the model says, row by row, and every bad file by name."""

import csv

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from mmbook import MultimodalModel, Trainer, collate
from mmbook.app.config_data import files_dataset
from mmbook.app.predict import predict_files, predict_to_csv
from mmbook.data import FilesSkipped
from mmbook.encoders import Bert, MelCNN, SmallCNN
from mmbook.fusion import build_fusion
from mmbook.heads import Classification, Regression
from mmbook.models import fusion_on_features
from mmbook.models.detection import Detection
from mmbook.preprocess import AudioProcessor, ImageProcessor, TextProcessor

WORDS = ["[UNK]", "a", "good", "bad", "film", "none", "NA"]
TEXTS = ["a good film", "a bad film", "good", "bad", "none", "NA", "a film"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Seven samples as files, and the model saved beside them."""
    folder = tmp_path_factory.mktemp("files")
    random = np.random.default_rng(0)
    media = folder / "media"
    media.mkdir()
    for i, text in enumerate(TEXTS):
        Image.fromarray(random.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(media / f"{i}.png")
        soundfile.write(media / f"{i}.wav", random.uniform(-0.5, 0.5, 1600 + 400 * i), 16_000)
        (media / f"{i}.txt").write_text(text, encoding="utf-8")
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    build(folder).save_pretrained(folder / "model")
    return folder


def build(folder, fusion="attention", head=None, classes=("bad", "good", "1")):
    torch.manual_seed(0)
    encoders = {
        "text": Bert(len(WORDS), width=16, layers=1, heads=2, hidden=16, max_positions=8),
        "image": SmallCNN(channels=(8, 16)),
        "audio": MelCNN(channels=(4, 8), out_dim=16),
    }
    processors = {
        "text": TextProcessor(str(folder / "tokenizer.json"), max_length=8),
        "image": ImageProcessor(16),
        "audio": AudioProcessor(),
    }
    joined = build_fusion(fusion, {name: encoder.out_dim for name, encoder in encoders.items()}, 8)
    head = head or Classification(8, 3)
    return MultimodalModel(encoders, joined, head, preprocess=processors, classes=classes).eval()


@pytest.fixture(scope="module")
def model(folder):
    return MultimodalModel.from_pretrained(folder / "model")


def listed(file, columns, rows):
    with file.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([columns, *rows])
    return file


def everything(folder, name, rows=(0, 1, 2, 3, 4, 5, 6)):
    """A CSV that lists the samples, paths relative to it."""
    columns = ["id", "image", "audio", "text", "labels"]
    cells = [[f"s{i}", f"media/{i}.png", f"media/{i}.wav", TEXTS[i], ("good", "1", "0")[i % 3]] for i in rows]
    return listed(folder / name, columns, cells)


def raw(folder, i):
    return {"image": folder / f"media/{i}.png", "audio": folder / f"media/{i}.wav", "text": TEXTS[i]}


def same(row, answer):
    assert row["label"] == answer["label"]
    for name, probability in answer["scores"].items():
        assert row[f"p_{name}"] == pytest.approx(probability, abs=1e-5)
    for name, weight in answer["weights"].items():
        assert row[f"weight_{name}"] == pytest.approx(weight, abs=1e-5)


@pytest.mark.parametrize("batch_size", [2, 32])
def test_a_csv_gives_what_the_model_predicts_from_raw_rows(folder, model, batch_size):
    table = predict_files(folder / "model", everything(folder, "all.csv"), batch_size)
    columns = [
        "id",
        "label",
        "p_bad",
        "p_good",
        "p_1",
        "weight_text",
        "weight_image",
        "weight_audio",
        "error",
    ]
    assert list(table.columns) == columns
    assert list(table["id"]) == [f"s{i}" for i in range(len(TEXTS))] and set(table["error"]) == {""}
    for i, answer in enumerate(model.predict([raw(folder, i) for i in range(len(TEXTS))])):
        same(table.loc[i], answer)


def test_a_folder_gives_the_same_as_the_csv(folder, model):
    by_csv = predict_files(model, everything(folder, "all.csv"))
    by_folder = predict_files(model, folder / "media")
    assert list(by_folder["id"]) == [str(i) for i in range(len(TEXTS))]
    pd.testing.assert_frame_equal(by_folder.drop(columns="id"), by_csv.drop(columns="id"))


def test_an_empty_cell_is_missing_a_txt_cell_is_a_path_and_na_is_a_text(folder, model):
    rows = [["media/0.png", ""], ["", "media/1.txt"], ["", "NA"], ["", "none"]]
    table = predict_files(model, listed(folder / "some.csv", ["image", "text"], rows))
    expected = [{"image": folder / "media/0.png"}, {"text": TEXTS[1]}, {"text": "NA"}, {"text": "none"}]
    for i, answer in enumerate(model.predict(expected)):
        same(table.loc[i], answer)
    assert table["id"].tolist() == ["0", "1", "2", "3"] and set(table["error"]) == {""}
    assert table.loc[0, "p_bad"] != table.loc[1, "p_bad"] != table.loc[2, "p_bad"]


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_a_bad_file_keeps_its_row_says_why_and_leaves_the_others_alone(folder, model, tmp_path, batch_size):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "latin.txt").write_bytes("schön".encode("latin-1"))
    media = folder / "media"
    rows = [
        [tmp_path / "broken.png", media / "0.wav", "a"],
        [media / "1.png", media / "1.wav", TEXTS[1]],
        [media / "gone.png", media / "gone.wav", "a"],
        ["", "", tmp_path / "latin.txt"],
        ["", "", ""],
        [media / "1.png", media / "1.wav", "a good, bad film", "one too many"],
        [media / "2.png", media / "2.wav", TEXTS[2]],
    ]
    source = listed(tmp_path / "list.csv", ["image", "audio", "text"], rows)
    with pytest.warns(FilesSkipped, match=r"5 of 7 samples .*'0'.*broken\.png"):
        table = predict_files(model, source, batch_size)
    assert len(table) == 7 and (table["error"] != "").tolist() == [True, False, True, True, True, True, False]
    reasons = ["broken.png", "gone.png.*gone.wav", "latin.txt.*UTF-8", "each of .* is missing", "4 cells.* 3"]
    for row, reason in zip([0, 2, 3, 4, 5], reasons, strict=True):
        assert pd.Series([table.loc[row, "error"]]).str.contains(reason).all()
        assert table.loc[row].drop(["id", "error"]).isna().all(), "no answer that looks like the others"
    for row, i in ((1, 1), (6, 2)):
        same(table.loc[row], model.predict([raw(folder, i)])[0])


def test_a_folder_reports_two_files_for_one_modality_and_files_that_nobody_reads(folder, model, tmp_path):
    for name in ("0.png", "1.png", "1.wav"):
        (tmp_path / name).write_bytes((folder / "media" / name).read_bytes())
    (tmp_path / "1.jpg").write_bytes((tmp_path / "1.png").read_bytes())
    (tmp_path / "notes.md").write_text("a note")
    (tmp_path / ".hidden").write_text("of the system")
    with pytest.warns(FilesSkipped) as caught:
        table = predict_files(model, tmp_path)
    messages = " | ".join(str(warning.message) for warning in caught)
    assert "1 files" in messages and "notes.md" in messages and "1 of 2 samples" in messages
    assert table["id"].tolist() == ["0", "1"] and table.loc[0, "error"] == ""
    assert all(word in table.loc[1, "error"] for word in ("'image'", "1.jpg", "1.png"))


def test_the_csv_is_the_table_and_an_older_one_stays_until_it_is_complete(folder, model, tmp_path):
    source = everything(folder, "all.csv")
    written = predict_to_csv(model, source, tmp_path / "new" / "out.csv", batch_size=3)
    assert (written.rows, written.failed, written.errors) == (len(TEXTS), 0, [])
    table = pd.read_csv(written.file, keep_default_na=False)
    pd.testing.assert_frame_equal(table, predict_files(model, source), check_dtype=False)

    class Interrupted(Exception):
        pass

    def broken(path):
        raise Interrupted

    before, model = written.file.read_bytes(), build(folder)
    model.preprocess["audio"] = broken
    with pytest.raises(Interrupted):
        predict_to_csv(model, source, written.file)
    assert written.file.read_bytes() == before
    assert [file.name for file in written.file.parent.iterdir()] == ["out.csv"]


def test_answers_are_never_written_over_what_they_answer(folder, model, tmp_path):
    source = everything(folder, "all.csv", [0])
    before = source.read_bytes()
    (tmp_path / "link.csv").symlink_to(source)
    for out in (source, tmp_path / "link.csv"):
        with pytest.raises(ValueError, match="over the data that it is made from; give another file"):
            predict_to_csv(model, source, out)
    assert source.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["link.csv"]


def test_memory_holds_one_batch_of_samples_at_a_time(folder, model, monkeypatch):
    from mmbook.app import predict

    sizes, original = [], predict.answers
    monkeypatch.setattr(predict, "answers", lambda m, rows: sizes.append(len(rows)) or original(m, rows))
    tables = predict._tables(model, everything(folder, "all.csv"), 3)
    next(tables)
    assert sizes == [3], "the second batch is not read before it is asked for"
    assert [len(table) for table in tables] == [3, 1] and sizes == [3, 3, 1]


@pytest.mark.parametrize("targets", [1, 2])
def test_regression_gives_values_and_no_weights_where_the_fusion_has_none(folder, targets):
    model = build(folder, "concat", Regression(8, targets), classes=())
    table = predict_files(model, everything(folder, "all.csv", [0, 1]))
    columns = ["value"] if targets == 1 else ["value_0", "value_1"]
    assert list(table.columns) == ["id", *columns, "error"]
    expected = [answer["values"] for answer in model.predict([raw(folder, i) for i in (0, 1)])]
    np.testing.assert_allclose(table[columns].to_numpy(), expected, atol=1e-5)


def test_the_mode_of_the_model_stays(folder, model):
    training = build(folder).train()
    predict_files(training, everything(folder, "all.csv", [0]))
    assert training.training and not model.training


def test_the_dataset_scores_as_the_predictions_do(folder, model):
    source = everything(folder, "all.csv")
    data = files_dataset(model, source)
    assert [row["labels"] for row in data] == [1, 2, 0, 1, 2, 0, 1], "names first, then numbers"
    assert [row["id"] for row in data] == list(range(len(TEXTS)))
    trainer = Trainer(model, data, epochs=1, batch_size=4, lr=1e-3, seed=0, device="cpu", progress=False)
    found = predict_files(model, source)["label"]
    right = [label == model.classes[row["labels"]] for label, row in zip(found, data, strict=True)]
    assert trainer.evaluate(data)["accuracy"] == pytest.approx(np.mean(right))
    labels = model(**collate([data[i] for i in range(3)])).logits.shape
    assert labels == (3, 3)


def test_a_bad_file_leaves_the_dataset_by_name_and_the_ids_say_which(folder, model, tmp_path):
    media = folder / "media"
    rows = [[media / "0.png", "good"], [tmp_path / "gone.png", "bad"], ["", "bad"], [media / "1.png", "bad"]]
    with pytest.warns(FilesSkipped, match="2 files"):
        data = files_dataset(model, listed(tmp_path / "list.csv", ["image", "labels"], rows))
    assert [(row["id"], row["labels"]) for row in data] == [(0, 1), (3, 0)]
    assert any("gone.png" in path for path, _ in data.skipped)
    assert any("row 2" in path for path, _ in data.skipped)


@pytest.mark.parametrize(
    ("label", "message"),
    [("godo", "row 1 .*'godo'.*bad, good, 1.*0 to 2"), ("3", "row 1 .*'3'"), ("", "row 1 .*no labels")],
)
def test_an_unknown_class_is_named_with_the_row_and_what_is_known(folder, model, tmp_path, label, message):
    picture = folder / "media/0.png"
    source = listed(tmp_path / "list.csv", ["image", "labels"], [[picture, "good"], [picture, label]])
    with pytest.raises(ValueError, match=message):
        files_dataset(model, source)


def test_labels_of_a_regression_are_numbers(folder, tmp_path):
    model, picture = build(folder, head=Regression(8, 2), classes=()), folder / "media/0.png"
    data = files_dataset(model, listed(tmp_path / "a.csv", ["image", "labels"], [[picture, "0.5 -2"]]))
    assert data[0]["labels"] == [0.5, -2.0]
    assert model(**collate([data[0]])).loss.isfinite()
    for wrong in ("0.5", "much 1"):
        with pytest.raises(ValueError, match=f"'{wrong}'.*2 numbers"):
            files_dataset(model, listed(tmp_path / "b.csv", ["image", "labels"], [[picture, wrong]]))


def test_errors_name_what_is_wrong(folder, model, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        predict_files(model, tmp_path / "nowhere")
    for columns in (["imge", "text"], ["id"], ["image", "image"]):
        with pytest.raises(ValueError, match=f"{columns[0]}.*text, image, audio"):
            predict_files(model, listed(tmp_path / "list.csv", columns, []))
    with pytest.raises(ValueError, match="no rows"):
        predict_files(model, listed(tmp_path / "list.csv", ["image"], []))
    with pytest.raises(ValueError, match="no file that the model reads.*png"):
        (tmp_path / "empty").mkdir()
        predict_files(model, tmp_path / "empty")
    (tmp_path / "latin.csv").write_bytes("text\nschön\n".encode("latin-1"))
    with pytest.raises(ValueError, match="latin.csv is no CSV in UTF-8"):
        predict_files(model, tmp_path / "latin.csv")
    with pytest.raises(ValueError, match="no processors"):
        predict_files(fusion_on_features({"a": 4}, "concat", num_classes=2), folder / "media")
    with pytest.raises(ValueError, match="Detection.*Classification and Regression"):
        predict_files(build(folder, head=Detection(8, 2)), folder / "media")
    two = build(folder)
    two.preprocess["image"] = two.preprocess["audio"]
    with pytest.raises(ValueError, match="'audio'.*CSV"):
        predict_files(two, folder / "media")
