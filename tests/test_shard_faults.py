"""Hundreds of damaged shards: nothing crashes, what is lost is named, all else is bit-identical."""

import io
import json
import re
import shutil
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image, ImageFile

from mmbook.data import FilesSkipped, ShardDataset, Skipped, index_shards, write_shards
from mmbook.data.labels import Labels
from mmbook.data.shard_format import RawSample, packed
from mmbook.data.shards import row_of
from mmbook.preprocess import AudioProcessor, ImageProcessor

SEEDS = range(5)
SHARDS, EACH = 3, 4
PICTURE, SOUND = ImageProcessor(8), AudioProcessor()


def letters(text):
    return torch.tensor([ord(letter) for letter in text])


PROCESSORS = {"text": letters, "image": PICTURE, "photo": PICTURE, "audio": SOUND, "voice": SOUND}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Rows of tiny real files; every third sample lacks its photo."""
    folder, random, rows = tmp_path_factory.mktemp("files"), np.random.default_rng(0), []
    for i in range(SHARDS * EACH):
        pixels = random.integers(0, 255, (12, 10, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        Image.fromarray(pixels).resize((40, 40)).save(folder / f"{i}.jpg")
        wave = random.uniform(-0.5, 0.5, 120 + 10 * i)
        soundfile.write(folder / f"{i}.wav", wave, 16_000)
        soundfile.write(folder / f"{i}.flac", wave, 16_000)
        row = {"text": f"sentence {i}", "image": folder / f"{i}.png", "audio": folder / f"{i}.wav"}
        row |= {"voice": folder / f"{i}.flac", "labels": i % 3}
        rows.append(row if i % 3 == 2 else row | {"photo": folder / f"{i}.jpg"})
    return rows


@pytest.fixture(scope="module")
def written(sources, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written") / "shards"
    write_shards(sources, folder, per_shard=EACH)
    return folder


@pytest.fixture(scope="module")
def whole(written):
    """id -> row, read from shards without a fault."""
    rows = {row["id"]: row for row in ShardDataset(written, PROCESSORS)}
    assert len(rows) == SHARDS * EACH
    return rows


@pytest.fixture
def folder(written, tmp_path):
    return Path(shutil.copytree(written, tmp_path / "shards"))


@pytest.fixture
def foreign(folder):
    """The same samples as other people write them: no index, and a json with the labels only."""
    (folder / "shards.json").unlink()
    for shard in folder.iterdir():
        samples = grouped(shard)
        for parts in samples.values():
            parts["json"] = json.dumps({"labels": json.loads(parts["json"])["labels"]}).encode()
        write_tar(shard, [(f"{key}.{s}", content) for key, p in samples.items() for s, content in p.items()])
    return folder


def grouped(shard):
    """key -> {suffix: bytes}, by tarfile."""
    samples = {}
    with tarfile.open(shard) as tar:
        for member in tar:
            key, suffix = member.name.split(".", 1)
            samples.setdefault(key, {})[suffix] = tar.extractfile(member).read()
    return samples


def spans(shard):
    """key -> (first byte of its first header, byte behind its last content), by tarfile."""
    found = {}
    with tarfile.open(shard) as tar:
        for member in tar:
            key = member.name.split(".")[0]
            first, last = found.get(key, (member.offset, 0))
            found[key] = first, max(last, member.offset_data + member.size)
    return found


def write_tar(path, members):
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def read(shards, whole, **options):
    """ids that came through, each bit-identical, and what was skipped; one warning if anything was."""
    data = ShardDataset(shards, PROCESSORS, buffer=3, **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FilesSkipped)
        rows = list(data)
    told = [w for w in caught if w.category is FilesSkipped]
    assert len(told) == bool(data.skipped)
    assert not told or str(told[0].message).startswith(f"{len(data.skipped)} ")
    for row in rows:
        wanted = whole[row["id"]]
        assert row.keys() == wanted.keys()
        assert all(torch.equal(torch.as_tensor(row[k]), torch.as_tensor(wanted[k])) for k in wanted)
    ids = [row["id"] for row in rows]
    assert len(set(ids)) == len(ids)
    return set(ids), data.skipped


def stated_lost(skipped):
    """How many samples the reports account for, with the index's help."""
    counts = [re.search(rf"(\d+) of {EACH} samples are lost", reason) for _, reason in skipped]
    return sum(
        int(count[1]) if count else EACH if path.endswith(".tar") else 1
        for (path, _), count in zip(skipped, counts, strict=True)
    )


def one_lost(ids, skipped, shard, key, member=None):
    """Exactly this sample is lost, and exactly one report names its shard and key (and member)."""
    assert set(range(SHARDS * EACH)) - ids == {int(key)}
    assert len(skipped) == 1
    assert skipped[0].path.startswith(f"{shard.name}/{key}") and skipped[0].reason
    if member:
        assert skipped[0].path == f"{shard.name}/{key}.{member}"


def drawn(folder, kind, seed):
    """A random generator, and a random shard and key."""
    random = np.random.default_rng([seed, *kind.encode()])
    shard = sorted(folder.glob("*.tar"))[random.integers(SHARDS)]
    return random, shard, str(random.choice(sorted(grouped(shard))))


def rewritten(folder, kind, seed, change, needs=None):
    """Apply `change(random, parts)` to a random sample that has the member `needs`, and state the result."""
    random, shard, key = drawn(folder, kind, seed)
    samples = grouped(shard)
    while needs and needs not in samples[key]:
        key = str(random.choice(sorted(samples)))
    parts = samples[key]
    change(random, parts)
    if "mmbook" in json.loads(parts["json"]):  # the file was bad before it was written: its CRC is right
        rest = {suffix: content for suffix, content in parts.items() if suffix != "json"}
        parts["json"] = packed(int(key), json.loads(parts["json"])["labels"], rest)
    write_tar(shard, [(f"{k}.{s}", content) for k, p in samples.items() for s, content in p.items()])
    return shard, key


# ---- the tar itself


@pytest.mark.parametrize("seed", range(60))
def test_a_tar_cut_at_any_byte_loses_what_lies_behind_and_says_how_much(folder, whole, seed):
    random, shard, _ = drawn(folder, "cut", seed)
    content = shard.read_bytes()
    end = {key: last for key, (_, last) in spans(shard).items()}
    # one cut in three falls into the zeros at the end, or close before
    low = 0 if seed % 3 else max(end.values()) - 300
    cut = int(random.integers(low, len(content)))
    shard.write_bytes(content[:cut])
    ids, skipped = read(folder, whole)
    lost = {int(key) for key, byte in end.items() if byte > cut}
    assert set(whole) - ids == lost, "every complete sample before the break, and no other"
    assert len(skipped) == bool(lost), "one break, one report; none where nothing was lost"
    assert stated_lost(skipped) == len(lost)
    assert all(path == shard.name for path, _ in skipped)
    if lost and cut >= 512:  # below, there is not even one header, and it is no shard at all
        assert f"at byte {cut}" in skipped[0].reason


@pytest.mark.parametrize("seed", range(80))
def test_a_flipped_bit_anywhere_is_harmless_or_named(folder, whole, seed):
    random, shard, _ = drawn(folder, "flip", seed)
    content = bytearray(shard.read_bytes())
    content[random.integers(len(content) - 9000)] ^= 1 << int(random.integers(8))
    shard.write_bytes(content)
    ids, skipped = read(folder, whole)
    assert len(skipped) == len(whole) - len(ids) <= 1
    for path, _ in skipped:
        name, key = re.fullmatch(r"(.+\.tar)/(\d+)(?:\..*)?", path).groups()
        assert name == shard.name and int(key) not in ids


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("kind", ["zeros", "noise"])
def test_a_hole_in_a_tar_loses_no_sample_behind_it(folder, whole, kind, seed):
    random, shard, _ = drawn(folder, kind, seed)
    content = bytearray(shard.read_bytes())
    start = int(random.integers(len(content) - 10_000))
    length = int(random.integers(1, 3000))
    end = min(start + length, len(content))
    content[start:end] = bytes(end - start) if kind == "zeros" else random.bytes(end - start)
    places = spans(shard)
    shard.write_bytes(content)
    ids, skipped = read(folder, whole)
    touched = {int(key) for key, (first, last) in places.items() if first < end and last > start}
    assert set(whole) - ids <= touched
    assert stated_lost(skipped) == len(whole) - len(ids)


@pytest.mark.parametrize("kind", ["missing", "empty", "noise", "text", "folder", "zeros", "gzip"])
def test_a_shard_that_is_none_is_named_and_the_others_are_read(folder, whole, kind):
    random, shard, _ = drawn(folder, kind, 0)
    keys = {int(key) for key in grouped(shard)}
    made = {"empty": b"", "noise": random.bytes(5000), "text": b"<html>404</html>", "zeros": bytes(10240)}
    made["gzip"] = b"\x1f\x8b" + random.bytes(3000)
    shard.unlink()
    if kind in made:
        shard.write_bytes(made[kind])
    elif kind == "folder":
        shard.mkdir()
    ids, skipped = read(folder, whole)
    assert set(whole) - ids == keys
    assert [path for path, _ in skipped] == [shard.name] and skipped[0].reason


def test_a_disk_that_fails_in_mid_shard(folder, whole, monkeypatch):
    class Failing(io.BytesIO):
        def read(self, size=-1):
            if self.tell() > 9000:
                raise OSError(5, "Input/output error")
            return super().read(size)

    def opened(path, *args, **kwargs):
        file = whole_open(path, *args, **kwargs)
        return Failing(file.read()) if path == shard else file

    shard, whole_open = folder / "train-000001.tar", Path.open
    places = spans(shard)
    monkeypatch.setattr(Path, "open", opened)
    ids, skipped = read(folder, whole)
    lost = {int(key) for key, (_, last) in places.items() if last > 9000}
    assert set(whole) - ids == lost and stated_lost(skipped) == len(lost)
    assert "Input/output error" in skipped[0].reason


def test_all_shards_bad_is_an_error(folder):
    for i, shard in enumerate(folder.glob("*.tar")):
        shard.write_bytes(b"no tar" * 1000) if i else shard.unlink()
    with pytest.raises(ValueError, match=r"not one of the 3 shards"):
        list(ShardDataset(folder, PROCESSORS))


@pytest.mark.parametrize("seed", range(30))
def test_a_foreign_tar_that_is_cut_off_loses_at_most_one_sample_before_the_break(foreign, whole, seed):
    random, shard, _ = drawn(foreign, "foreign", seed)
    content = shard.read_bytes()
    end = {key: last for key, (_, last) in spans(shard).items()}
    cut = int(random.integers(512, max(end.values())))
    shard.write_bytes(content[:cut])
    ids, skipped = read(str(foreign / "*.tar"), whole)
    behind = {int(key) for key, byte in end.items() if byte > cut}
    lost = set(whole) - ids
    assert behind <= lost and len(lost) <= len(behind) + 1
    assert [path for path, _ in skipped] == [shard.name] and f"{min(lost):09d}" in skipped[0].reason


# ---- a member of a sample


def cut(random, content):
    return content[: int(random.integers(1, len(content) - 12))]


def noise(random, content):
    return random.bytes(int(random.integers(1, 3000)))


def nothing(random, content):
    return b""


def filled_up(random, content):
    """Cut off and filled with zeros to its length, as a broken download into a reserved file is."""
    kept = int(random.integers(100, len(content) - 2))
    return content[:kept] + bytes(len(content) - kept)


def flipped_pixels(random, content):
    at = content.index(b"IDAT") + 4
    length = int.from_bytes(content[at - 8 : at - 4], "big")
    changed = bytearray(content)
    changed[at + random.integers(length)] ^= 1 << int(random.integers(8))
    return bytes(changed)


SPOILED = [
    *((member, how) for member in ("png", "photo.jpg", "wav", "voice.flac") for how in (cut, noise, nothing)),
    ("photo.jpg", filled_up),
    ("png", filled_up),
    ("png", flipped_pixels),
]


@pytest.mark.parametrize("written_by", ["us", "others"])
@pytest.mark.parametrize(("member", "how"), SPOILED, ids=lambda value: getattr(value, "__name__", value))
def test_a_file_that_was_bad_before_it_was_written(request, whole, member, how, written_by):
    """No checksum can tell here: the decoder must."""
    fresh = request.getfixturevalue("folder" if written_by == "us" else "foreign")
    before = {shard: shard.read_bytes() for shard in fresh.glob("*.tar")}
    for seed in SEEDS:

        def change(random, parts):
            parts[member] = how(random, parts[member])

        shard, key = rewritten(fresh, f"{member}{how.__name__}", seed, change, needs=member)
        one_lost(*read(str(fresh / "*.tar"), whole), shard, key, member)
        shard.write_bytes(before[shard])


def test_every_bit_of_a_picture_whose_crc_nobody_stated():
    """PNG has checksums of its own, and they are looked at."""
    file = io.BytesIO()
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(file, "png")
    content = file.getvalue()
    wanted, named = PICTURE(content), 0
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        found = row_of(
            RawSample("a.tar", "1", {}, {"png": bytes(changed)}), {"image": PICTURE}, Labels("none")
        )
        if isinstance(found, Skipped):
            assert found.path == "a.tar/1.png" and found.reason
            named += 1
        else:
            assert torch.equal(found["image"], wanted)
    assert named > 7 * len(content)


def test_grey_is_no_picture_even_where_pil_is_told_to_fill_up(folder, whole, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    before = {shard: shard.read_bytes() for shard in folder.glob("*.tar")}
    grey = 0
    for seed in range(10):

        def change(random, parts):
            content = parts["photo.jpg"]
            parts["photo.jpg"] = content[: int(random.integers(len(content) * 3 // 4, len(content) - 1))]

        shard, key = rewritten(folder, "grey", seed, change, needs="photo.jpg")
        with Image.open(io.BytesIO(grouped(shard)[key]["photo.jpg"])) as picture:
            grey += picture.convert("RGB").size == (40, 40)
        one_lost(*read(folder, whole), shard, key, "photo.jpg")
        shard.write_bytes(before[shard])
    assert grey == 10, "the decoder alone must have let them pass, or this shows nothing"


# ---- what a sample says of itself


def relabelled(value):
    def change(random, samples, key):
        rest = {suffix: content for suffix, content in samples[key].items() if suffix != "json"}
        samples[key]["json"] = packed(int(key), value, rest)

    return change


def json_of(make):
    def change(random, samples, key):
        samples[key]["json"] = make(random, samples[key]["json"])

    return change


def without(suffix):
    def change(random, samples, key):
        del samples[key][suffix or str(random.choice([s for s in samples[key] if s != "json"]))]

    return change


def edited(random, content):
    about = json.loads(content)
    return json.dumps(about | {"labels": (about["labels"] + 1) % 3}).encode()


def unexpected(random, samples, key):
    samples[key]["depth.png"] = samples[key]["png"]


SAID = {
    "label is a word": relabelled("cat"),
    "label is a float": relabelled(1.0),
    "label is a truth value": relabelled(True),
    "label is negative": relabelled(-1),
    "label is too large": relabelled(3),
    "label is a list": relabelled([1]),
    "label is missing": relabelled(None),
    "json is broken": json_of(lambda random, content: content[: int(random.integers(len(content)))]),
    "json is noise": json_of(lambda random, content: random.bytes(40)),
    "json is a list": json_of(lambda random, content: b"[1, 2]"),
    "label was edited": json_of(edited),
    "member is missing": without(None),
    "json is missing": without("json"),
    "member is unexpected": unexpected,
}


@pytest.mark.parametrize("kind", SAID)
def test_a_sample_that_contradicts_itself(folder, whole, kind):
    before = {shard: shard.read_bytes() for shard in folder.glob("*.tar")}
    for seed in SEEDS:
        random, shard, key = drawn(folder, kind, seed)
        samples = grouped(shard)
        SAID[kind](random, samples, key)
        write_tar(shard, [(f"{k}.{s}", content) for k, p in samples.items() for s, content in p.items()])
        one_lost(*read(folder, whole), shard, key)
        shard.write_bytes(before[shard])


def test_without_labels_a_lost_json_is_a_fault_too(sources, tmp_path):
    write_shards([row | {"labels": None} for row in sources], tmp_path / "shards", per_shard=EACH)
    shard = tmp_path / "shards" / "train-000001.tar"
    samples = grouped(shard)
    key = sorted(samples)[2]
    del samples[key]["json"], samples[key]["png"]
    write_tar(shard, [(f"{k}.{s}", content) for k, p in samples.items() for s, content in p.items()])
    data = ShardDataset(tmp_path / "shards", PROCESSORS)
    with pytest.warns(FilesSkipped):
        ids = {row["id"] for row in data}
    one_lost(ids, data.skipped, shard, key, "json")


@pytest.mark.parametrize(
    "content", [b"cat", b"1.5", b"-1", b"3", b"", b"\xff\xfe", b"nan"], ids=lambda content: repr(content)
)
def test_a_wrong_cls_of_other_peoples_shards(foreign, whole, content):
    for seed in range(2):
        for shard in foreign.glob("*.tar"):
            samples = grouped(shard)
            for parts in samples.values():
                if "json" in parts:
                    parts["cls"] = str(json.loads(parts.pop("json"))["labels"]).encode()
            write_tar(shard, [(f"{k}.{s}", c) for k, p in samples.items() for s, c in p.items()])
        _, shard, key = drawn(foreign, "cls", seed)
        before, samples = shard.read_bytes(), grouped(shard)
        samples[key]["cls"] = content
        write_tar(shard, [(f"{k}.{s}", c) for k, p in samples.items() for s, c in p.items()])
        one_lost(*read(str(foreign / "*.tar"), whole, classes=3), shard, key, "cls")
        shard.write_bytes(before)


@pytest.mark.parametrize("where", ["a member, at once", "a member, later", "the sample, at once"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_key_that_is_there_twice(folder, whole, where, seed):
    random, shard, key = drawn(folder, where, seed)
    members = [(f"{k}.{s}", content) for k, p in grouped(shard).items() for s, content in p.items()]
    mine = [i for i, (name, _) in enumerate(members) if name.startswith(f"{key}.")]
    if where == "a member, at once":
        place = int(random.choice(mine))
        members.insert(place, members[place])
    elif where == "a member, later":
        members.append(members[mine[0]])
    else:
        members[mine[-1] + 1 : mine[-1] + 1] = [members[i] for i in mine]
    write_tar(shard, members)
    ids, skipped = read(folder, whole)
    assert len(skipped) == 1 and skipped[0].path.startswith(f"{shard.name}/{key}")
    last = sorted(grouped(shard))[-1] == key
    kept_first = where == "a member, later" and not last
    assert set(whole) - ids == (set() if kept_first else {int(key)}), "the first that is whole is kept"


def test_a_sample_given_again_later_is_not_read_twice(folder, whole):
    shard = folder / "train-000001.tar"
    members = [(f"{k}.{s}", content) for k, p in grouped(shard).items() for s, content in p.items()]
    first = members[0][0].split(".")[0]
    write_tar(shard, members + [member for member in members if member[0].startswith(first)])
    ids, skipped = read(folder, whole)
    assert ids == set(whole) and [path for path, _ in skipped] == [f"{shard.name}/{first}"]


def test_a_member_without_a_key_is_named_and_its_neighbours_are_read(folder, whole):
    shard = folder / "train-000000.tar"
    members = [(f"{k}.{s}", content) for k, p in grouped(shard).items() for s, content in p.items()]
    write_tar(shard, [("README", b"hello"), *members, ("__about__/made.txt", b"by hand")])
    ids, skipped = read(folder, whole)
    assert ids == set(whole) and [path for path, _ in skipped] == [f"{shard.name}/README"]


def test_what_macos_puts_beside_each_file_is_passed_over(folder, whole):
    for shard in folder.glob("*.tar"):
        members = [(f"{k}.{s}", content) for k, p in grouped(shard).items() for s, content in p.items()]
        write_tar(shard, [pair for n, c in members for pair in ((f"._{n}", b"\0\5\x16\7"), (n, c))])
    ids, skipped = read(folder, whole)
    assert ids == set(whole) and not skipped
    assert index_shards(folder).samples == len(whole)


def test_one_fault_a_batch_smaller_and_no_batch_shifted(folder, whole):
    """Positions of a damaged set are those of the whole one, with the damaged sample's place kept."""
    data = ShardDataset(folder, PROCESSORS, buffer=3)
    before = [row["id"] for row in data.positions(1)]
    shard, key = rewritten(folder, "png", 0, lambda random, parts: parts.update(png=b"no picture"))
    after = list(data.positions(1))
    place = before.index(int(key))
    assert after[place].path == f"{shard.name}/{key}.png"
    assert [row["id"] for i, row in enumerate(after) if i != place] == before[:place] + before[place + 1 :]


def test_an_index_made_of_damaged_shards_says_so(foreign, whole):
    shard = foreign / "train-000001.tar"
    shard.write_bytes(shard.read_bytes()[:700])
    with pytest.warns(FilesSkipped, match=shard.name):
        index = index_shards(foreign)
    assert [entry.samples for entry in index.shards] == [EACH, 0, EACH]
    assert (index.labels, index.classes, index.stated) == ("class", 3, False)
