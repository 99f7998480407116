"""Tables and folders of files: a cell means one thing, whoever reads it; labels are read in one way."""

import csv
import json
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Subset
from typer.testing import CliRunner

from mmbook.app.cli import app
from mmbook.app.config_data import Files, open_data
from mmbook.app.predict import predict_files
from mmbook.app.shard_csv import shard_csv
from mmbook.data import (
    FileDataset,
    FilesSkipped,
    Folder,
    Labels,
    ShardDataset,
    Table,
    files,
    labelled_files,
    write_shards,
)
from mmbook.data.kinds import KINDS, kind_of, kinds_of
from mmbook.data.shard_format import modality_of
from mmbook.encoders import SmallCNN, Word2Vec
from mmbook.fusion import build_fusion
from mmbook.heads import Classification, Regression
from mmbook.models import MultimodalModel
from mmbook.preprocess import ImageProcessor, WordProcessor
from mmbook.seeding import seeded

VOCABULARY = ["please", "read", "inside", "notes", "txt", "see"]


def letters(text):
    return torch.tensor([ord(letter) for letter in text])


letters.kind = "text"


def said(row):
    return "".join(map(chr, row["text"]))


def write(path, content, encoding="utf-8"):
    path.write_bytes(content.encode(encoding))
    return path


def rows_of(table, **kinds):
    return list(table.samples(kinds or {"text": "text"}))


def model_of(head=None, classes=(), **encoders):
    processors = {"image": ImageProcessor(8), "text": WordProcessor(VOCABULARY)}
    encoders = encoders or {"text": Word2Vec(VOCABULARY, 4), "image": SmallCNN(channels=(8,))}
    fusion = build_fusion("mean", {name: e.out_dim for name, e in encoders.items()}, 8)
    kept = {name: processors[name] for name in encoders}
    return MultimodalModel(
        encoders, fusion, head or Classification(8, 2), preprocess=kept, classes=classes
    ).eval()


# ---- one rule for a cell

CELLS = {  # cell -> the text that everybody must read, None for an error
    "please read notes.txt": "please read notes.txt",
    "notes.txt": "inside",
    "NOTE.TXT": "inside",
    "my note.txt": "inside",
    "sub/notes.txt": "inside",
    "gone.txt": None,
    "see gone.txt": "see gone.txt",
    "two\nlines notes.txt": "two\nlines notes.txt",
    "x " * 3000 + "notes.txt": "x " * 3000 + "notes.txt",  # no name of a file may be so long
    "notes.txt.": "notes.txt.",
    "notes": "notes",
}


@pytest.fixture
def notes(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("notes.txt", "NOTE.TXT", "my note.txt", "sub/notes.txt"):
        write(tmp_path / name, "inside")
    return tmp_path


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell[:20])
def test_a_cell_is_the_same_for_training_prediction_vocabulary_and_shards(notes, cell):
    with (notes / "t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text", "labels"], [cell, "a"], ["a text", "b"]])
    wanted = CELLS[cell]
    source = Files(notes / "t.csv")
    model = model_of(classes=("a", "b"), text=Word2Vec(VOCABULARY, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FilesSkipped)
        predicted = predict_files(model, _without_labels(notes / "t.csv"))
    if wanted is None:
        both = r"'gone.txt' in the column 'text' is no file .*path of a text file.*the text itself"
        with pytest.warns(FilesSkipped, match=both):
            assert [row["id"] for row in source.dataset(model)] == [1]
        assert predicted["error"].str.contains(both).tolist() == [True, False]
        with pytest.raises(ValueError, match="row 0.*" + both):
            shard_csv(notes / "t.csv", notes / "out")
        assert not (notes / "out").exists() and list(source.texts("text")) == ["a text"]
        return
    found = labelled_files(source.source.samples({"text": "text"}), {"text": letters}, source.source.labels())
    assert said(found[0]) == wanted and list(source.texts("text")) == [wanted, "a text"]
    assert torch.equal(source.dataset(model)[0]["text"], model.preprocess["text"](wanted))
    assert predicted.loc[0, "p_a"] == pytest.approx(model.predict([{"text": wanted}])[0]["scores"]["a"])
    shard_csv(notes / "t.csv", notes / "out", seed=None)
    assert said(next(iter(ShardDataset(notes / "out", {"text": letters}, buffer=0)))) == wanted


def _without_labels(path):
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row[:1] for row in csv.reader(file)]
    with path.with_name("bare.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path.with_name("bare.csv")


def test_a_column_of_another_kind_holds_paths_whatever_they_end_in(tmp_path):
    table = Table(write(tmp_path / "t.csv", "review,scan\nsee a.txt,a.txt\n"))
    (sample,) = rows_of(table, review="text", scan="other")
    assert sample.items == {"review": "see a.txt", "scan": tmp_path / "a.txt"}


# ---- the file itself


@pytest.mark.parametrize(
    "content",
    [
        "text,labels\na b,1\n",
        "\ufefftext,labels\r\na b,1\r\n",
        "text,labels\ra b,1\r",
        ' text , labels \n\n "a b", 1 \n\n',
        'text,labels\n"a b","1"',
    ],
)
def test_the_ways_to_write_one_table(tmp_path, content):
    table = Table(write(tmp_path / "t.csv", content))
    (sample,) = rows_of(table)
    assert (sample.items, sample.labels, sample.errors) == ({"text": "a b"}, "1", ())
    assert len(table) == 1 and table.modalities == ("text",) and table.cells("labels") == ["1"]


def test_rows_keep_their_numbers_and_those_of_another_width_are_named(tmp_path):
    table = Table(write(tmp_path / "t.csv", 'text,id,labels\n"a\n""b""",x,1\nb,1\n\nc,,2,3\nd,,4\n'))
    samples = rows_of(table)
    assert [sample.id for sample in samples] == ["x", "1", "2", "3"] and len(table) == 4
    assert [bool(sample.errors) for sample in samples] == [False, True, True, False]
    assert "2 cells for the 3 columns" in samples[1].errors[0] and "line 4" in samples[1].place
    assert samples[0].items == {"text": 'a\n"b"'} and table.cells("labels") == ["1", "4"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            b"text\n" + b"a text\n" * 3000 + "caf\xe9\n".encode("latin-1"),
            "t.csv is no CSV in UTF-8, at line 3002",
        ),
        ("text\na".encode("utf-16"), "t.csv is no CSV in UTF-8, at line 1"),
        (b'text,labels\n"a" b,1\n', "line 2"),
        (b'text,labels\n"a,1\nb,2\n', "unexpected end"),
        (b",text\n0,a\n", "without a name, the 1. of 2.*index=False"),
        (b"text,text\na,b\n", "text, text.*once.*Rename text"),
        (b"text;labels\na;b\n", "text;labels"),
        (b"", "columns none"),
    ],
)
def test_files_that_are_no_tables_are_refused_with_the_place(tmp_path, content, told):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=told):
        rows_of(Table(tmp_path / "t.csv"))


# ---- labels


@pytest.mark.parametrize(
    ("labels", "cell", "value"),
    [
        (Labels("class", 3, ("bad", "good", "1")), "1", 2),
        (Labels("class", 3, ("bad", "good", "1")), "0", 0),
        (Labels("class", 3), "2", 2),
        (Labels("number", width=0), "-1e-3", -0.001),
        (Labels("number", width=2), "0.5 -2", [0.5, -2.0]),
    ],
)
def test_a_label_is_read_by_what_the_head_wants(labels, cell, value):
    assert labels.read(cell) == value == labels.checked(value)
    assert type(labels.read(cell)) is type(value)


@pytest.mark.parametrize(
    ("labels", "cells"),
    [
        (Labels("class", 2, ("a", "b")), ["c", "2", "-1", "0.0", "0 1", "", "A"]),
        (Labels("class", 2), ["2", "x", "1.0", "१२"]),
        (Labels("number", width=0), ["x", "nan", "inf", "1 2", "1_000", "1e999", "9" * 400]),
        (Labels("number", width=2), ["1", "1 2 3", "1 x"]),
    ],
)
def test_other_labels_are_refused_with_what_is_allowed(labels, cells):
    for cell in cells:
        with pytest.raises(
            ValueError, match="the label is .*it must be (one of a, b|an integer|a finite|2 numb)"
        ):
            labels.read(cell)


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (["b", "a", "b"], Labels("class", 2, ("a", "b"))),
        (["0", "2"], Labels("class", 3)),
        (["0", "2.5"], Labels("number", width=0)),
        (["0 1", "2 3"], Labels("number", width=2)),
        (["nan", "naan"], Labels("class", 2, ("naan", "nan"))),
        (["", None], Labels("none")),
    ],
)
def test_what_the_cells_of_a_column_are_labels_of(cells, labels):
    assert Labels.of_cells(cells) == labels


def test_several_numbers_are_the_same_labels_for_training_and_shards(tmp_path):
    source = write(tmp_path / "t.csv", "text,labels\na,0.5 2\nb,1 3\n")
    trained = Files(source).dataset(model_of(Regression(8, 2), text=Word2Vec(VOCABULARY, 4)))
    shard_csv(source, tmp_path / "out", seed=None)
    sharded = list(ShardDataset(tmp_path / "out", {"text": letters}, buffer=0))
    assert [row["labels"] for row in trained] == [row["labels"] for row in sharded] == [[0.5, 2], [1, 3]]
    assert Files(source).targets() == open_data(tmp_path / "out").targets() == 2


# ---- folders


@pytest.fixture
def classes(tmp_path):
    """pics/train/<class>/*.png and pics/val/<class>/*.png, with what file managers leave behind."""
    random = np.random.default_rng(0)
    for i in range(12):
        file = tmp_path / "pics" / ("train", "val")[i % 2] / ("dog", "cat", "10")[i % 3] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 255, (10, 10, 3), dtype=np.uint8)).save(file)
    for name in (".DS_Store", "cat/._6.png", "__MACOSX/cat/0.png", ".ipynb_checkpoints/a.png", "README.md"):
        file = tmp_path / "pics/train" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"nothing to read")
    return tmp_path / "pics"


def test_a_folder_for_each_class_is_a_dataset(classes):
    source = open_data(classes / "train")
    count, names = source.classes()
    assert (count, names) == (3, ["10", "cat", "dog"]) and source.modalities is None
    model = model_of(Classification(8, 3), names, image=SmallCNN(channels=(8,)))
    data = source.dataset(model)
    assert len(data) == 6 and not data.skipped
    for row, sample in zip(data, source.source.samples({"image": "image"}), strict=True):
        file = classes / "train" / f"{sample.id}.png"
        assert names[row["labels"]] == file.parent.name
        assert torch.equal(row["image"], ImageProcessor(8)(file))
    predicted = predict_files(model, classes / "val")
    assert sorted(predicted["id"]) == sorted(f"{('dog', 'cat', '10')[i % 3]}/{i}" for i in range(1, 12, 2))


def test_encoders_of_any_name_read_a_folder(classes):
    photos = Folder(classes / "train").samples({"photo": "image"})
    pictures = Folder(classes / "train").samples({"image": "image"})
    assert [s.items["photo"] for s in photos] == [s.items["image"] for s in pictures]


def test_folders_that_are_no_classes_are_refused_with_the_cure(classes, tmp_path):
    with pytest.raises(ValueError, match=r"train, val, which are splits.*pics/train"):
        open_data(classes).classes()
    with pytest.raises(ValueError, match="no subfolders"):
        open_data(classes / "train/cat").classes()
    with pytest.raises(ValueError, match="no file for 'text'"):
        open_data(classes / "train").dataset(model_of(Classification(8, 3)))
    model = model_of(Classification(8, 2), ("cat", "dog"), image=SmallCNN(channels=(8,)))
    with pytest.raises(ValueError, match=r"10/.*the label is '10'; it must be one of cat, dog"):
        open_data(classes / "train").dataset(model)
    (classes / "train/7.png").write_bytes((classes / "val/cat/7.png").read_bytes())
    with pytest.raises(ValueError, match=r"7 in .*train has no labels"):
        model = model_of(Classification(8, 3), ("10", "cat", "dog"), image=SmallCNN(channels=(8,)))
        open_data(classes / "train").dataset(model)


def test_links_are_followed_and_one_to_nowhere_is_a_bad_file(classes, tmp_path):
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/here").symlink_to(classes / "train/cat")
    (tmp_path / "linked/here2").symlink_to(tmp_path / "linked")  # a circle
    (tmp_path / "linked/dead.png").symlink_to(tmp_path / "nowhere.png")
    model = model_of(image=SmallCNN(channels=(8,)))
    with pytest.warns(FilesSkipped):
        found = predict_files(model, tmp_path / "linked")
    assert set(found["id"]) == {"dead", "here/4", "here/10"}
    assert found.set_index("id")["error"].ne("").to_dict() == {
        "dead": True,
        "here/4": False,
        "here/10": False,
    }


def test_folders_tables_and_shards_go_by_one_table_of_kinds(tmp_path):
    for kind, extensions in KINDS.items():
        for extension in extensions:
            name = tmp_path / f"{extension}.{extension.upper()}"
            name.touch()
            assert modality_of(extension) == kind
            assert name in [s.items.get("m") for s in Folder(tmp_path).samples({"m": kind})]
    assert kinds_of({"a": ImageProcessor(8), "b": WordProcessor(["x"]), "c": letters, "d": str}) == {
        "a": "image",
        "b": "text",
        "c": "text",
        "d": "other",
    }


# ---- what is drawn at random is drawn anew


class Noisy(ImageProcessor):
    """Adds noise from `source`: of torch, numpy, or a generator that nobody else sees."""

    def __init__(self, source):
        super().__init__(8)
        own = np.random.default_rng(0)
        self.draw = {
            "torch": lambda: torch.rand(()).item(),
            "numpy": np.random.rand,
            "its own": own.random,
            "a coin": lambda: float(own.random() < 0.5),
        }[source]

    def __call__(self, image):
        return super().__call__(image) + self.draw()


@pytest.fixture
def pictures(classes):
    return [{"image": file, "text": f"{file.stem}"} for file in sorted(classes.rglob("val/*/*.png"))]


@pytest.mark.parametrize("source", ["torch", "numpy", "its own", "a coin"])
@pytest.mark.parametrize("keep", [True, False])
def test_keeping_does_not_freeze_what_is_drawn(pictures, source, keep):
    data = FileDataset(pictures, {"image": Noisy(source), "text": WordProcessor(VOCABULARY)}, keep)
    reads = [torch.stack([row["image"] for row in data]) for _ in range(20)]
    assert any(not torch.equal(reads[0], other) for other in reads)
    if source in ("torch", "numpy"):
        with seeded(1):
            first = data[2]["image"]
        with seeded(1):
            assert torch.equal(Subset(data, [2])[0]["image"], first), "a function of the seed, alone or not"


@pytest.mark.parametrize("most", [0, 3 * 8 * 8 * 4 * 2, 2**30])
def test_memory_is_bounded_and_rows_are_the_same_whatever_is_held(pictures, monkeypatch, most):
    monkeypatch.setattr(files, "MOST_KEPT", most)
    calls = []

    class Counted(ImageProcessor):
        deterministic = True

        def __call__(self, image):
            calls.append(image)
            return super().__call__(image)

    pictures = [{"image": row["image"]} for row in pictures]
    data = FileDataset(pictures, {"image": Counted(8)})
    assert len(calls) == len(pictures), "one that says what it is, is taken at its word"
    rows = [row["image"] for row in data]
    again = len(calls) - len(pictures)
    assert again == len(pictures) - min(len(pictures), most // rows[0].nbytes)
    assert all(torch.equal(row, ImageProcessor(8)(p["image"])) for row, p in zip(rows, pictures, strict=True))


def test_augmentation_over_shards_is_a_function_of_seed_epoch_and_sample(pictures, tmp_path):
    write_shards(pictures, tmp_path / "out", per_shard=2)

    def read(seed=0, epoch=0, skip=0, **options):
        data = ShardDataset(tmp_path / "out", {"image": Noisy("torch")}, seed=seed, labels="none", **options)
        return {row["id"]: row["image"] for row in data.positions(epoch, skip) if row is not None}

    def same(a, b):
        return [torch.equal(a[i], b[i]) for i in b]

    whole = read(buffer=3)
    assert all(same(whole, read(buffer=3, skip=4))) and all(same(whole, read(buffer=0)))
    assert not any(same(whole, read(epoch=1))) and not any(same(whole, read(seed=1)))
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    read()
    assert torch.equal(torch.rand(3), wanted), "what the model draws is left alone"


def test_a_processor_says_its_kind_or_has_that_of_its_class():
    class Scan(ImageProcessor):
        kind = "other"

    assert kind_of(Scan(8)) == "other" and kind_of(Noisy("torch")) == "image"


def test_the_commands_train_score_and_predict_on_a_folder_for_each_class(classes, tmp_path):
    (tmp_path / "c.yaml").write_text(
        "model: {encoders: {photo: {type: SmallCNN, channels: [8]}}, fusion: {type: mean},"
        " head: {type: Classification}, processors: {photo: {type: ImageProcessor, size: 8}}}\n"
        "data: {train: pics/train, valid: pics/val}\n"
        "training: {epochs: 1, batch_size: 4, lr: 1e-3, seed: 0, device: cpu}\noutput: run\n"
    )
    run, scores, answers = tmp_path / "run", tmp_path / "s.json", tmp_path / "a.csv"
    for words in (
        ["train", tmp_path / "c.yaml"],
        ["evaluate", run, classes / "val", "--json", scores],
        ["predict", run, classes / "val", "--out", answers],
    ):
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exit_code == 0, done.output
    assert MultimodalModel.from_pretrained(run).classes == ["10", "cat", "dog"]
    with answers.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    right = [row["label"] == row["id"].split("/")[0] for row in rows]
    assert json.loads(scores.read_text())["scores"]["accuracy"] == pytest.approx(np.mean(right))
    split = CliRunner().invoke(app, ["train", str(tmp_path / "c.yaml"), "--set", f"data.train={classes}"])
    assert split.exit_code == 1 and "are splits and no classes" in split.output
