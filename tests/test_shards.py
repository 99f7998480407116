"""Shards: rows in are rows out, each once an epoch, in an order that repeats; WebDataset reads them, too."""

import json
import os
import subprocess
import sys
import tarfile
import tracemalloc

import numpy as np
import pytest
import soundfile
import torch
import webdataset
from PIL import Image
from torch.utils.data import DataLoader

from mmbook import collate
from mmbook.app.shard_csv import shard_csv
from mmbook.book.film import write_video
from mmbook.data import FileDataset, FilesSkipped, ShardDataset, ShardIndex, index_shards, write_shards
from mmbook.data import shards as shards_module
from mmbook.data.shard_format import modality_of, suffix_of
from mmbook.preprocess import AudioProcessor, ImageProcessor, VideoProcessor

COUNT = 24


def letters(text):
    return torch.tensor([ord(letter) for letter in text])


def bytes_of(content):
    return torch.tensor(list(content[:8]))


TEXT = {"text": letters}
PROCESSORS = {
    "text": letters,
    "image": ImageProcessor(8),
    "face": ImageProcessor(8),
    "audio": AudioProcessor(),
}


def texts(count, **more):
    return [{"text": f"sentence {i}", "labels": i % 4} | more for i in range(count)]


def order(data, epoch=0):
    """ids of this reader's positions."""
    return [row["id"] for row in data.positions(epoch)]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Files of all kinds; every third row has no audio, every fourth no face."""
    folder, random, made = tmp_path_factory.mktemp("files"), np.random.default_rng(0), []
    for i in range(COUNT):
        picture = Image.fromarray(random.integers(0, 255, (12, 10, 3), dtype=np.uint8))
        picture.save(folder / f"{i}.png")
        picture.save(folder / f"{i}.JPG", "jpeg")
        kind = ("wav", "flac")[i % 2]
        soundfile.write(folder / f"{i}.{kind}", random.uniform(-0.5, 0.5, 200 + 10 * i), 16_000)
        row = {"text": f"sentence {i}, “quoted” 红苹果", "image": str(folder / f"{i}.png"), "labels": i % 4}
        row |= {"audio": folder / f"{i}.{kind}"} if i % 3 else {"audio": None}
        made.append(row | ({"face": folder / f"{i}.JPG"} if i % 4 else {}))
    return made


@pytest.fixture(scope="module")
def shards(rows, tmp_path_factory):
    """8 shards of 3 samples."""
    folder = tmp_path_factory.mktemp("shards") / "train"
    assert write_shards(rows, folder, per_shard=3).skipped == []
    return folder


@pytest.fixture
def small(tmp_path):
    """40 texts in 8 shards."""
    write_shards(texts(40), tmp_path / "small", per_shard=5)
    return tmp_path / "small"


# ---- what is written is what is read


def test_rows_in_are_rows_out(rows, shards):
    direct = {row["id"]: row for row in FileDataset(rows, PROCESSORS)}
    data = ShardDataset(shards, PROCESSORS)
    found = {row["id"]: row for row in data}
    assert len(data) == COUNT == len(found) and data.skipped == []
    for i, wanted in direct.items():
        assert found[i].keys() == wanted.keys()
        assert found[i]["labels"] == wanted["labels"]
        assert all(torch.equal(found[i][name], wanted[name]) for name in PROCESSORS if name in wanted)
    batch = collate([found[i] for i in range(6)])
    assert batch["audio_mask"].any(dim=1).tolist() == [bool(i % 3) for i in range(6)]
    assert batch["ids"].tolist() == list(range(6))


def test_what_is_not_asked_for_is_not_read(shards):
    rows = list(ShardDataset(shards, {"face": ImageProcessor(8)}, labels="none"))
    assert len(rows) == COUNT and {key for row in rows for key in row} == {"face", "id"}


def test_a_video_comes_through(tmp_path):
    frames = torch.randint(0, 255, (6, 3, 32, 32), dtype=torch.uint8)
    write_video(tmp_path / "v.mp4", frames, 5)
    write_shards([{"video": tmp_path / "v.mp4", "labels": 0}], tmp_path / "out")
    (row,) = ShardDataset(tmp_path / "out", {"video": VideoProcessor(16, 4)})
    assert torch.equal(row["video"], VideoProcessor(16, 4)(tmp_path / "v.mp4"))


def test_webdataset_reads_the_same_keys_and_bytes(rows, shards):
    paths = sorted(str(path) for path in shards.glob("*.tar"))
    found = {sample["__key__"]: sample for sample in webdataset.WebDataset(paths, shardshuffle=False)}
    assert sorted(found) == [f"{i:09d}" for i in range(COUNT)]
    for i, row in enumerate(rows):
        sample = found[f"{i:09d}"]
        assert json.loads(sample["json"])["labels"] == row["labels"]
        assert sample["txt"].decode() == row["text"]
        with open(row["image"], "rb") as file:
            assert sample["png"] == file.read()
        if row["audio"]:
            assert sample[row["audio"].suffix[1:]] == row["audio"].read_bytes()
        if "face" in row:
            assert sample["face.jpg"] == row["face"].read_bytes()
        members = {key for key in sample if not key.startswith("__")} - {"json"}
        assert {modality_of(suffix) for suffix in members} == {
            name for name, value in row.items() if name != "labels" and value is not None
        }


def test_we_read_what_webdataset_writes(rows, tmp_path):
    for shard in range(2):
        with webdataset.TarWriter(str(tmp_path / f"a-{shard}.tar")) as tar:
            for i in range(shard * 5, shard * 5 + 5):
                with open(rows[i]["image"], "rb") as file:
                    tar.write({"__key__": f"dir/{i:04d}x", "png": file.read(), "cls": i % 3, "url": b"x"})
    (tmp_path / "a-9.txt").write_text("no shard")
    data = ShardDataset(str(tmp_path / "a-{0..1}.tar"), {"image": ImageProcessor(8)}, classes=3, buffer=0)
    found = list(data)
    assert sorted(row["labels"] for row in found) == sorted(i % 3 for i in range(10)) and not data.skipped
    wanted = [ImageProcessor(8)(rows[i]["image"]) for i in range(10)]
    assert all(any(torch.equal(row["image"], image) for image in wanted) for row in found)
    assert len({row["id"] for row in found}) == 10 and collate(found)["ids"].shape == (10,)
    with pytest.raises(TypeError, match=r"mmbook shard --index.*samples="):
        len(data)
    index = index_shards(tmp_path)
    assert (index.samples, index.modalities, index.labels, index.classes) == (
        10,
        ("image", "url"),
        "class",
        3,
    )
    assert len(ShardDataset(tmp_path, {"image": ImageProcessor(8)})) == 10
    assert len(ShardDataset([tmp_path / "a-1.tar"], {"image": ImageProcessor(8)})) == 5


def test_names_too_long_for_a_header_and_folders_are_read(tmp_path):
    (tmp_path / "deep" / ("d" * 70)).mkdir(parents=True)
    for i in range(3):
        (tmp_path / "deep" / ("d" * 70) / f"{'k' * 60}{i}.txt").write_text(f"text {i}")
        (tmp_path / "deep" / ("d" * 70) / f"{'k' * 60}{i}.cls").write_text(str(i))
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / f"{form}.tar", "w", format=form) as tar:
            tar.add(tmp_path / "deep", "deep")
        data = ShardDataset(tmp_path / f"{form}.tar", TEXT)
        rows = {row["labels"]: row for row in data}
        assert not data.skipped and sorted(rows) == [0, 1, 2]
        assert all(torch.equal(rows[i]["text"], letters(f"text {i}")) for i in range(3))


def test_numbers_as_labels(tmp_path):
    write_shards(
        [{"text": "a", "labels": np.float32(0.5)}, {"text": "b", "labels": -1.0}],
        tmp_path / "one",
        per_shard=1,
    )
    data = ShardDataset(tmp_path / "one", TEXT)
    assert (
        data.labels.kind == "number"
        and data.labels.classes is None
        and sorted(row["labels"] for row in data) == [-1, 0.5]
    )
    write_shards([{"text": "a", "labels": torch.tensor([1.0, 2.5])}] * 2, tmp_path / "two")
    batch = collate(list(ShardDataset(tmp_path / "two", TEXT)))
    assert batch["labels"].tolist() == [[1, 2.5], [1, 2.5]]


def test_without_labels_rows_have_none(tmp_path):
    write_shards([{"text": "a"}, {"text": "b", "labels": None}], tmp_path / "out")
    assert [list(row) for row in ShardDataset(tmp_path / "out", TEXT)] == [["text", "id"]] * 2


def test_the_shortest_suffix_is_read_as_the_same_name():
    for name in ("text", "image", "audio", "video", "face", "depth_map"):
        for extension in ("txt", "png", "wav", "mp4", "npy"):
            assert modality_of(suffix_of(name, extension)) == name
    assert suffix_of("image", "png") == "png" and suffix_of("face", "png") == "face.png"


# ---- who reads what, and in which order


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("buffer", [0, 7, 1000])
def test_each_sample_once_an_epoch_over_all_readers(small, monkeypatch, world, workers, buffer):
    class Info:
        num_workers = workers

    data, found, sizes = ShardDataset(small, TEXT, buffer=buffer), [], []
    monkeypatch.setenv("WORLD_SIZE", str(world))
    monkeypatch.setattr(shards_module, "get_worker_info", lambda: Info)
    for rank in range(world):
        monkeypatch.setenv("RANK", str(rank))
        before = len(found)
        for Info.id in range(workers):
            found += order(data, epoch=3)
        sizes.append(len(found) - before)
    assert sorted(found) == list(range(40))
    assert max(sizes) - min(sizes) < 2 * 5


def test_with_real_workers(small):
    data = ShardDataset(small, TEXT)
    loader = DataLoader(data, batch_size=None, num_workers=2, persistent_workers=True)
    epochs = []
    for epoch in range(2):
        data.set_epoch(epoch)
        epochs.append([row["id"] for row in loader])
    assert all(sorted(ids) == list(range(40)) for ids in epochs)
    assert epochs[0] != epochs[1], "lasting workers must hear of the epoch"
    data.set_epoch(0)
    assert [row["id"] for row in DataLoader(data, batch_size=None, num_workers=2)] == epochs[0]


def test_the_ranks_of_a_running_job_count_more_than_the_environment(small, monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setenv("RANK", "0")
    halves = []
    for rank in range(2):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        halves.append(order(ShardDataset(small, TEXT)))
    assert len(halves[0]) == len(halves[1]) == 20 and sorted(halves[0] + halves[1]) == list(range(40))


def test_fewer_shards_than_readers(small, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "9")
    with pytest.raises(ValueError, match=r"8 shards.*9 readers.*per_shard"):
        ShardDataset(small, TEXT).positions(0)
    monkeypatch.setenv("RANK", "9")
    with pytest.raises(ValueError, match=r"RANK is 9"):
        ShardDataset(small, TEXT).positions(0)


def test_the_order_is_a_function_of_seed_and_epoch(small):
    first = order(ShardDataset(small, TEXT, seed=1), epoch=2)
    assert order(ShardDataset(small, TEXT, seed=1), epoch=2) == first
    others = [order(ShardDataset(small, TEXT, seed=s), epoch=e) for s, e in ((1, 0), (1, 3), (2, 2))]
    assert all(sorted(other) == sorted(first) and other != first for other in others)
    unmixed = ShardDataset(small, TEXT, buffer=0)
    assert order(unmixed, epoch=0) != order(unmixed, epoch=1), "the order of the shards changes as well"
    data = ShardDataset(small, TEXT, seed=1)
    data.set_epoch(2)
    assert [row["id"] for row in data] == first


def test_the_buffer_mixes(tmp_path):
    write_shards(texts(600), tmp_path / "out", per_shard=600)
    straight = order(ShardDataset(tmp_path / "out", TEXT, buffer=0))
    assert straight == list(range(600))
    for buffer in (100, 600):
        ids = np.array(order(ShardDataset(tmp_path / "out", TEXT, buffer=buffer)))
        moved = np.abs(ids - np.arange(600)).mean()
        assert moved > buffer / 4, "samples must come out about a buffer's length from where they were"
        assert (np.diff(ids) == 1).mean() < 0.05, "neighbours must be parted"


def test_resume_is_exact_and_decodes_nothing_of_what_it_passes(small):
    calls = []

    def counted(text):
        calls.append(text)
        return letters(text)

    data = ShardDataset(small, {"text": counted}, buffer=6, seed=3)
    full = order(data, epoch=1)
    for k in range(41):
        calls.clear()
        rest = list(data.positions(1, skip=k))
        assert rest[:k] == [None] * k
        assert [row["id"] for row in rest[k:]] == full[k:]
        assert len(calls) == 40 - k


def test_memory_does_not_grow_with_the_number_of_samples(tmp_path):
    peaks = []
    for name, count in (("few", 50), ("many", 1000)):
        random = np.random.default_rng(0)
        made = ({"text": random.bytes(2000).hex(), "labels": 0} for _ in range(count))
        write_shards(made, tmp_path / name, per_shard=25)
        data = ShardDataset(tmp_path / name, {"text": lambda text: torch.zeros(1)}, buffer=20)
        assert sum(1 for _ in data) == count  # whatever is loaded once is loaded now
        tracemalloc.start()
        assert sum(1 for _ in data) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] > 20 * 4000, "the buffer must be seen, or this measures nothing"
    assert peaks[1] / peaks[0] < 1.2


# ---- writing


def test_a_break_leaves_nothing_that_looks_whole_and_the_next_run_starts_over(tmp_path):
    def broken():
        yield from texts(7)
        raise RuntimeError("power is out")

    with pytest.raises(RuntimeError):
        write_shards(broken(), tmp_path / "out", per_shard=2)
    assert not (tmp_path / "out").exists()
    write_shards(texts(4), tmp_path / "out", per_shard=2)
    write_shards(texts(4), tmp_path / "unbroken", per_shard=2)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["shards.json", "train-000000.tar", "train-000001.tar"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "unbroken"]
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()


def test_a_killed_process_leaves_nothing_that_looks_whole(tmp_path):
    code = """
import os, sys
from mmbook.data import write_shards
def rows():
    for i in range(7):
        yield {"text": str(i), "labels": 0}
    os._exit(9)
write_shards(rows(), sys.argv[1], per_shard=2)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")])
    assert done.returncode == 9 and not (tmp_path / "out").exists() and any(tmp_path.iterdir())
    write_shards(texts(6), tmp_path / "out", per_shard=2)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert len(list(ShardDataset(tmp_path / "out", TEXT))) == 6


def test_a_full_folder_is_left_alone(small):
    before = {path.name: path.read_bytes() for path in small.iterdir()}
    with pytest.raises(FileExistsError, match="not empty"):
        write_shards(texts(3), small)
    assert {path.name: path.read_bytes() for path in small.iterdir()} == before


def test_shards_end_at_the_stated_size(tmp_path):
    made = [{"text": "x" * size, "labels": 0} for size in (400, 400, 400, 3000, 10, 10)]
    index = write_shards(made, tmp_path / "out", max_bytes=1000, prefix="valid").contents
    assert [shard.samples for shard in index.shards] == [2, 1, 1, 2]
    assert index == ShardIndex.load(tmp_path / "out")
    for shard in index.shards:
        assert (tmp_path / "out" / shard.file).stat().st_size == shard.bytes
        assert shard.file.startswith("valid-0000")


def test_a_file_that_is_not_there_is_reported_and_its_row_left_out(rows, tmp_path):
    (tmp_path / "empty.png").touch()
    spoiled = [dict(row) for row in rows[:5]]
    spoiled[1]["image"], spoiled[3]["image"] = tmp_path / "empty.png", tmp_path / "gone.png"
    with pytest.warns(FilesSkipped, match=r"^2 rows.*empty\.png"):
        written = write_shards(spoiled, tmp_path / "out")
    assert [path.rsplit("/")[-1] for path, _ in written.skipped] == ["empty.png", "gone.png"]
    assert sorted(order(ShardDataset(tmp_path / "out", PROCESSORS))) == [0, 2, 4]
    with pytest.raises(ValueError, match=r"no rows.*1 were left out.*gone\.png"):
        write_shards(spoiled[3:4], tmp_path / "none")


@pytest.mark.parametrize("key", ["a.b", "a/b", "", "a\\b", "__a", "k" * 61, "红" * 21, "a b"])
def test_keys_that_are_none(tmp_path, key):
    with pytest.raises(ValueError, match=r"row 1 has the id .*cannot be a key"):
        write_shards([{"text": "x"}, {"text": "y", "id": key}], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_keys_are_kept(tmp_path):
    write_shards([{"text": "x", "id": "红-1"}, {"text": "y", "id": 77}], tmp_path / "out")
    with tarfile.open(tmp_path / "out" / "train-000000.tar") as tar:
        assert {name.split(".")[0] for name in tar.getnames()} == {"红-1", "000000077"}
    assert sorted(order(ShardDataset(tmp_path / "out", TEXT))) == [0, 77]


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ([], "no rows"),
        ([{"text": "x", "id": 1}, {"text": "y", "id": 1}], "row 1 has the id 1, as a row before"),
        ([{"text": "x", "labels": 1}, {"text": "y"}], "row 1 .*all or none"),
        ([{"text": "x"}, {"text": "y", "labels": 1}], "row 1 .*all or none"),
        ([{"text": "x", "labels": 1}, {"text": "y", "labels": 0.5}], "row 1.*0.5.*integer"),
        ([{"text": "x", "labels": 5}], "row 0.*5.*0 to 3"),
        (
            [{"text": "x", "labels": [1.0]}, {"text": "x", "labels": [1.0, 2.0]}],
            r"row 1: .*\[1.0, 2.0\].* 1 numbers.*first row",
        ),
        ([{"text": "x", "labels": float("nan")}], "row 0.*nan.*finite"),
        ([{"Text": "x"}], "'Text'.*lower-case"),
        ([{"image": "picture"}], "no extension"),
    ],
)
def test_rows_that_cannot_be_written(tmp_path, made, told):
    with pytest.raises(ValueError, match=told):
        write_shards(made, tmp_path / "out", classes=4)


# ---- tables, patterns, indices


def table(path, header, *lines):
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def test_a_table_of_files(rows, tmp_path):
    (tmp_path / "files").mkdir()
    for i in range(4):
        os.link(rows[i]["image"], tmp_path / "files" / f"{i}.png")
    (tmp_path / "files" / "long.txt").write_text("a long text")
    source = table(
        tmp_path / "t.csv",
        "image,text,labels",
        'files/0.png,"one, two",dog',
        "files/1.png,files/long.txt,cat",
        ",see files/long.txt,dog",
        "files/3.png,,owl",
    )
    written = shard_csv(source, tmp_path / "out", per_shard=2)
    data = ShardDataset(tmp_path / "out", {"text": letters, "image": ImageProcessor(8)})
    found = {row["id"]: row for row in data}
    assert written.contents.class_names == data.class_names == ("cat", "dog", "owl")
    assert [found[i]["labels"] for i in range(4)] == [1, 0, 1, 2] and data.labels.classes == 3
    said = {0: "one, two", 1: "a long text", 2: "see files/long.txt"}
    assert {i: "".join(map(chr, row["text"])) for i, row in found.items() if "text" in row} == said
    assert {i for i, row in found.items() if "image" in row} == {0, 1, 3}
    assert index_shards(tmp_path / "out") == written.contents  # the names, which no shard holds, are kept
    assert index_shards(tmp_path / "out", classes=5).class_names is None  # they are three
    assert index_shards(tmp_path / "out").classes == 3


def test_a_table_is_dealt_in_a_random_order_that_repeats(tmp_path):
    source = table(tmp_path / "t.csv", "text,labels", *(f"sentence {i},{i // 20}" for i in range(60)))
    ids = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1), ("d", None)):
        shard_csv(source, tmp_path / name, seed=seed)
        ids[name] = order(ShardDataset(tmp_path / name, TEXT, buffer=0))
    assert ids["a"] == ids["b"] != ids["c"] and ids["d"] == list(range(60))
    assert sorted(ids["a"]) == sorted(ids["c"]) == list(range(60))


def test_columns_of_another_name(tmp_path):
    source = table(tmp_path / "t.csv", "text_question,author,labels", "why?,me,0.5", "how?,you,2")
    with pytest.raises(ValueError, match=r"text_question, author, labels.*Rename text_question"):
        shard_csv(source, tmp_path / "out")
    shard_csv(source, tmp_path / "out", columns=["text_question"])
    data = ShardDataset(tmp_path / "out", {"text_question": letters})
    assert sorted(row["labels"] for row in data) == [0.5, 2]


@pytest.mark.parametrize(
    ("header", "lines", "told"),
    [
        ("labels", ["1"], "columns labels; it may have each of text, image"),
        ("text,labels", ["a,1", "b"], "line 3.*: 1 cells for the 2 columns"),
        ("text,labels", ["a, b,1"], "line 2.*: 3 cells for the 2 columns"),
        ("text,labels", ["a,1", "b,"], "no label in 1 of 2"),
        ("text,labels", ["a,1", "b,1x"], "numbers, such as '1', and words, such as '1x'"),
        ("text,labels", ["a,-1"], "-1"),
    ],
)
def test_tables_that_cannot_be_written(tmp_path, header, lines, told):
    with pytest.raises(ValueError, match=told):
        shard_csv(table(tmp_path / "t.csv", header, *lines), tmp_path / "out")


def test_patterns_find_the_same_shards(small):
    wanted = sorted(order(ShardDataset(small, TEXT)))
    names = sorted(str(path) for path in small.glob("*.tar"))
    for shards in (str(small / "train-{000000..000007}.tar"), str(small / "*.tar"), names, [small / "*.tar"]):
        data = ShardDataset(shards, TEXT)
        assert sorted(order(data)) == wanted and len(data) == 40
    assert len(ShardDataset(names[:3], TEXT)) == 15
    assert len(ShardDataset(names, TEXT, samples=7)) == 7


def test_what_a_dataset_refuses(small, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no shards\.json.*mmbook shard --index"):
        ShardDataset(tmp_path, TEXT)
    with pytest.raises(ValueError, match=r"no shards at .*x-\*\.tar"):
        ShardDataset(str(tmp_path / "x-*.tar"), TEXT)
    with pytest.raises(ValueError, match="is an address"):
        ShardDataset("https://example.org/a.tar", TEXT)
    with pytest.raises(ValueError, match="named twice"):
        ShardDataset([small / "train-000000.tar"] * 2, TEXT)
    with pytest.raises(ValueError, match="processors for video; the shards have text"):
        ShardDataset(small, {"video": bytes_of})
    with pytest.raises(ValueError, match="buffer is -1"):
        ShardDataset(small, TEXT, buffer=-1)
    with pytest.raises(ValueError, match="'words'.*class, number, none"):
        ShardDataset(small, TEXT, labels="words")


def test_two_folders_with_different_classes_are_refused(small, tmp_path):
    write_shards(texts(4), tmp_path / "more", classes=9)
    with pytest.raises(ValueError, match="different labels or modalities"):
        ShardDataset([small / "*.tar", tmp_path / "more" / "*.tar"], TEXT)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"version": 1}'])
def test_a_damaged_index(small, content):
    (small / "shards.json").write_text(content)
    with pytest.raises(ValueError, match=r"shards\.json is damaged.*--index"):
        ShardDataset(small, TEXT)
    assert index_shards(small).stated
    assert len(ShardDataset(small, TEXT)) == 40


def test_an_index_of_a_later_version(small):
    content = json.loads((small / "shards.json").read_text())
    (small / "shards.json").write_text(json.dumps(content | {"version": 2}))
    with pytest.raises(ValueError, match="version 2; this package reads version 1"):
        ShardDataset(small, TEXT)


def test_a_processor_that_is_broken_is_not_taken_for_a_bad_sample(small):
    def broken(text):
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        list(ShardDataset(small, {"text": broken}))
