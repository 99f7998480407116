"""Train, evaluate, predict, export and shard from the command line; a bad config is told what and where."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from mmbook import MultimodalModel
from mmbook.app.cli import app
from mmbook.app.export import example_batch
from mmbook.app.predict import predict_files
from mmbook.app.run_folder import is_ours, write_run
from mmbook.app.schema import ConfigError, read_yaml, yaml_of
from mmbook.data import ShardIndex

CONFIG = """
model:
  encoders:
    text: {type: Word2Vec, width: 8}
    image: {type: SmallCNN, channels: [8, 16]}
    audio: {type: MelCNN, channels: [4, 8], out_dim: 8}
  fusion: {type: attention, out_dim: 8, modality_dropout: 0.2}
  head: {type: Classification, dropout: 0.1}
  processors: {image: {type: ImageProcessor, size: 16}}
data: {train: train.csv, valid: valid.csv}
training: {epochs: 2, batch_size: 8, lr: 1e-2, seed: 0, device: cpu}
output: runs/first
"""


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Weights are compared bit by bit with those of another process, whose sums must have the same order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_data(folder: Path, counts: dict[str, int], modalities=("text", "image", "audio")) -> None:
    """A CSV for each split; good posts are bright, and say so."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in counts.items():
        rows = []
        for i in range(count):
            label = ("bad", "good")[i % 2]
            pixels = random.integers(0, 100, (16, 16, 3), dtype=np.uint8) + np.uint8(100 * (i % 2))
            Image.fromarray(pixels).save(folder / f"{split}{i}.png")
            soundfile.write(folder / f"{split}{i}.wav", random.uniform(-0.5, 0.5, 1600 + 40 * i), 16_000)
            row = {"text": f"a {label} film", "image": f"{split}{i}.png", "audio": f"{split}{i}.wav"}
            rows.append([*(row[name] for name in modalities), label])
        with (folder / f"{split}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([[*modalities, "labels"], *rows])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data, a config, and the model that it trains."""
    folder = tmp_path_factory.mktemp("commands")
    make_data(folder, {"train": 20, "valid": 8})
    (folder / "config.yaml").write_text(CONFIG, encoding="utf-8")
    done = run("train", folder / "config.yaml")
    assert done.exit_code == 0, done.output
    assert "epoch 2/2" in done.output and "valid_accuracy" in done.output
    return folder


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def changed(*changes: str) -> list[str]:
    return [word for change in changes for word in ("--set", change)]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_the_saved_model_has_all_it_needs_to_read_files(folder):
    model = MultimodalModel.from_pretrained(folder / "runs/first")
    assert list(model.preprocess) == ["text", "image", "audio"] and model.classes == ["bad", "good"]
    assert model.preprocess["text"].vocabulary == ["a", "film", "bad", "good"], "of the training texts"
    assert model.preprocess["image"].size == 16 and model.preprocess["audio"].rate == 16_000


def test_evaluate_scores_the_model_beside_its_control_rows(folder, tmp_path):
    done = run(
        "evaluate",
        folder / "runs/first",
        folder / "valid.csv",
        "--batch-size",
        3,
        "--train",
        folder / "train.csv",
        "--json",
        tmp_path / "s.json",
    )
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "s.json").read_text())
    constant = ["majority class of the training set", "majority class of this test set"]
    controls = [*constant, "only text", "only image", "only audio"]
    assert list(found["rows"]) == ["model", *controls] and found["samples"] == 8
    assert all(f"({name})" in done.output for name in controls)
    table = predict_files(folder / "runs/first", folder / "valid.csv")
    truth = [("bad", "good")[i % 2] for i in range(8)]
    assert found["scores"]["accuracy"] == pytest.approx(np.mean(table["label"] == truth))
    assert all(found["rows"][name]["accuracy"]["mean"] == 0.5 for name in constant)
    bare = run("evaluate", folder / "runs/first", folder / "valid.csv")
    assert constant[0] not in bare.output and f"({constant[1]})" in bare.output, "the other is not known"

    make_data(tmp_path / "one", {"valid": 8}, ["image"])  # the very pictures, and nothing else
    alone = predict_files(folder / "runs/first", _without_labels(tmp_path / "one/valid.csv"))
    assert found["rows"]["only image"]["accuracy"]["mean"] == pytest.approx(np.mean(alone["label"] == truth))


@pytest.mark.parametrize("taken", ["valid.csv", "train.csv"])
def test_scores_are_never_written_over_the_data(folder, taken):
    before = (folder / taken).read_bytes()
    data = [folder / "valid.csv", "--train", folder / "train.csv"]
    done = run("evaluate", folder / "runs/first", *data, "--json", folder / taken)
    assert done.exit_code == 1 and "give another file" in done.output
    assert (folder / taken).read_bytes() == before


def _without_labels(file: Path) -> Path:
    bare = file.with_name("bare.csv")
    bare.write_text("\n".join(line.rpartition(",")[0] for line in file.read_text().splitlines()))
    return bare


def test_predict_writes_a_table_and_counts_what_it_could_not_read(folder, tmp_path):
    source = folder / "some.csv"
    source.write_text("text,image\na good film,train1.png\n,gone.png\n", encoding="utf-8")
    done = run("predict", folder / "runs/first", source, "--out", tmp_path / "new/answers.csv")
    assert done.exit_code == 0 and "1 of 2 samples" in done.output
    assert "warning: 1 of 2 samples" in done.output and "gone.png" in done.output
    with (tmp_path / "new/answers.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["label"] in ("bad", "good") and "gone.png" in rows[1]["error"]

    (tmp_path / "posts").mkdir()  # files of one name are a sample
    (tmp_path / "posts/one.txt").write_text("a good film", encoding="utf-8")
    (tmp_path / "posts/one.png").write_bytes((folder / "train1.png").read_bytes())
    done = run("predict", folder / "runs/first", tmp_path / "posts", "--out", tmp_path / "by_folder.csv")
    assert done.exit_code == 0 and "1 of 1 samples" in done.output
    with (tmp_path / "by_folder.csv").open(newline="", encoding="utf-8") as file:
        assert [row | {"id": "0"} for row in csv.DictReader(file)] == rows[:1]


def test_export_compares_each_format_with_the_model(folder, tmp_path):
    small = ["train", folder / "config.yaml"]
    small += changed("output=runs/picture", "model.encoders={image: {type: SmallCNN, channels: [8]}}")
    make_data(folder / "pictures", {"train": 8}, ["image"])
    small += changed("data={train: pictures/train.csv}", "model.processors.image.size=8")
    assert (done := run(*small)).exit_code == 0, done.output
    done = run("export", folder / "runs/picture", tmp_path / "out", "--format", "torch")
    assert done.exit_code == 0, done.output
    assert all(word in done.output for word in ("torch", "largest difference", "PyTorch ms", "batch of 4"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.pt2", "model.json"}
    again = run("export", folder / "runs/first", tmp_path / "no", "--data", folder / "pictures/train.csv")
    assert again.exit_code == 1 and "text, image, audio" in again.output, "no sample of these has all three"


def test_shards_train_as_the_files_they_were_made_of(folder, tmp_path):
    done = run("shard", folder / "train.csv", tmp_path / "shards", "--per-shard", 7)
    assert done.exit_code == 0 and "20 samples in 3 shards" in done.output
    index = ShardIndex.load(tmp_path / "shards")
    assert index.class_names == ("bad", "good")
    out = tmp_path / "run"
    options = changed(f"data.train={tmp_path / 'shards'}", f"output={out}", "training.lr=2e-3")
    done = run("train", folder / "config.yaml", *options)
    assert done.exit_code == 0, done.output
    model = MultimodalModel.from_pretrained(out)
    assert model.classes == ["bad", "good"]
    assert model.preprocess["text"].vocabulary == ["a", "film", "bad", "good"], "of the texts in the shards"
    assert read_yaml(out / "run.yaml")["training"]["lr"] == 2e-3

    (tmp_path / "shards/shards.json").unlink()
    assert run("train", folder / "config.yaml", *options, "--resume").exit_code == 1
    done = run("shard", "--index", tmp_path / "shards")
    assert done.exit_code == 0 and "20 samples in 3 shards" in done.output
    assert ShardIndex.load(tmp_path / "shards").shards == index.shards


def test_the_written_config_repeats_the_run(folder):
    written = folder / "runs/first/run.yaml"
    found = yaml.safe_load(written.read_text(encoding="utf-8"))  # by any reader of YAML
    assert found["training"]["precision"] == "no" and found["training"]["lr"] == 0.01
    assert found["model"]["head"]["num_classes"] == 2 and found["model"]["encoders"]["image"]["groups"] == 8
    done = run("train", written, *changed("output=../again"))
    assert done.exit_code == 0, done.output
    assert equal(weights(folder / "runs/first"), weights(folder / "runs/again"))
    assert (folder / "runs/again/run.yaml").read_text() == written.read_text()
    other = run("train", written, *changed("output=../other", "training.seed=1"))
    assert other.exit_code == 0
    assert not equal(weights(folder / "runs/first"), weights(folder / "runs/other"))


def test_a_saved_model_is_trained_further(folder):
    further = changed("model={from: runs/first}", "output=runs/further", "training.epochs=1")
    assert (done := run("train", folder / "config.yaml", *further)).exit_code == 0, done.output
    still = changed("model={from: runs/first}", "output=runs/still", "training.epochs=1", "training.lr=0")
    assert run("train", folder / "config.yaml", *still).exit_code == 0
    assert equal(weights(folder / "runs/first"), weights(folder / "runs/still"))
    assert not equal(weights(folder / "runs/first"), weights(folder / "runs/further"))


def test_an_interrupted_run_goes_on_to_the_same_bits_and_the_module_is_the_command(folder):
    long = changed("training.epochs=16", "training.progress=false")
    whole = run("train", folder / "config.yaml", *long, *changed("output=runs/whole"))
    assert whole.exit_code == 0, whole.output
    command = [sys.executable, "-m", "mmbook.train", str(folder / "config.yaml"), *long]
    process = subprocess.Popen(
        [*command, *changed("output=runs/broken")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        # a shell that starts the tests in the background has them ignore it, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    out = folder / "runs/broken"
    while process.poll() is None and not any(out.glob("training/checkpoint-*")):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "--resume goes on" in output, output
    assert "Traceback" not in output and not (out / "model.safetensors").exists()

    again = run("train", folder / "config.yaml", *long, *changed("output=runs/broken"))
    assert again.exit_code == 1 and "output is" in again.output and "--resume" in again.output
    other = changed("output=runs/broken", "model.fusion.type=mean")
    refused = run("train", folder / "config.yaml", *long, *other, "--resume")
    assert refused.exit_code == 1
    assert re.search(r"^model.fusion.type is 'mean', .* 'attention'", refused.output, re.MULTILINE)

    done = run("train", folder / "config.yaml", *long, *changed("output=runs/broken"), "--resume")
    assert done.exit_code == 0, done.output
    assert "epoch 1/16" not in done.output and "epoch 16/16" in done.output
    assert equal(weights(folder / "runs/whole"), weights(out))


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


PICTURES = """
# what I tried on Monday
model: {encoders: {image: {type: SmallCNN, channels: [8]}}, fusion: {type: mean, out_dim: 4},
        head: {type: Classification}, processors: {image: {type: ImageProcessor, size: 8}}}
data: {train: train.csv}  # all of them
training: {epochs: 1, batch_size: 4, lr: 1e-3, seed: 0, device: cpu}
output: .
"""


@pytest.mark.parametrize("name", ["config.yaml", "my_run.yaml"])
def test_nothing_of_the_users_is_overwritten_where_the_output_is_the_folder_of_the_config(tmp_path, name):
    make_data(tmp_path, {"train": 8}, ["image"])
    (tmp_path / name).write_text(PICTURES)
    (tmp_path / "config.yaml").write_text(PICTURES)
    (tmp_path / "README.md").write_text("my pictures")
    before = files_of(tmp_path)
    assert (done := run("train", tmp_path / name)).exit_code == 0, done.output
    first = weights(tmp_path)
    done = run("train", tmp_path / name, "--resume", *changed("training.keep=3"))
    assert done.exit_code == 0, done.output
    assert equal(first, weights(tmp_path)) and read_yaml(tmp_path / "run.yaml")["training"]["keep"] == 3
    assert (done := run("train", tmp_path / "run.yaml", "--resume")).exit_code == 0, done.output
    after = files_of(tmp_path)
    assert before == {name: after[name] for name in before}
    example = example_batch(MultimodalModel.from_pretrained(tmp_path), tmp_path)  # of the CSV in run.yaml
    assert example["image"].shape == (4, 1, 3, 8, 8)


@pytest.mark.parametrize("name", ["run.yaml", "config.json", "model.safetensors"])
def test_an_output_where_a_file_of_the_user_would_be_replaced_is_refused(tmp_path, name):
    make_data(tmp_path, {"train": 8}, ["image"])
    (tmp_path / "pictures.yaml").write_text(PICTURES)
    (tmp_path / name).write_text(PICTURES if name == "run.yaml" else "{}")
    before = files_of(tmp_path)
    done = run("train", tmp_path / ("run.yaml" if name == "run.yaml" else "pictures.yaml"))
    assert done.exit_code == 1 and f"output is {tmp_path}, where {name} would be replaced" in done.output
    assert before == files_of(tmp_path)


def test_a_run_file_that_somebody_changed_stays_as_it_is(tmp_path):
    first, second = {"a": 1, "b": {"c": "no"}}, {"a": 2}
    file = tmp_path / "run.yaml"
    for config in (first, second):
        write_run(config, tmp_path)
        assert is_ours(file) and read_yaml(file) == config
    file.write_text(file.read_text() + "# mine\n")
    changed = file.read_bytes()
    write_run(first, tmp_path)
    assert not is_ours(file) and file.read_bytes() == changed


def test_a_run_that_version_0_1_made_is_found_again(folder, tmp_path):
    """It wrote the configuration as config.yaml."""
    make_data(tmp_path, {"train": 8}, ["image"])
    (tmp_path / "pictures.yaml").write_text(PICTURES)
    assert run("train", tmp_path / "pictures.yaml", *changed("output=out")).exit_code == 0
    text = (tmp_path / "out/run.yaml").read_text().partition("\n")[2]
    text = text.replace("  ema: null\n", "")  # as if that option were younger than the run
    (tmp_path / "out/run.yaml").unlink()
    (tmp_path / "out/config.yaml").write_text(text)
    assert (
        len(example_batch(MultimodalModel.from_pretrained(tmp_path / "out"), tmp_path / "out")["image"]) == 4
    )
    other = run("train", tmp_path / "pictures.yaml", "--resume", *changed("output=out", "training.lr=1"))
    assert other.exit_code == 1 and "training.lr is 1.0, but the run" in other.output
    done = run("train", tmp_path / "pictures.yaml", "--resume", *changed("output=out"))
    assert done.exit_code == 0 and (tmp_path / "out/config.yaml").read_text() == text, done.output


OWN = """
import torch
from mmbook.heads import Classification
from mmbook.modality import Modality
from mmbook.registry import register

@register
class Words(torch.nn.Module):
    reads = "text"

    def __init__(self, vocabulary: list[str], width: int = 4, copy: bool = False):
        super().__init__()
        self.vocabulary, self.out_dim = list(vocabulary), width
        self.table = torch.nn.Embedding(len(vocabulary) + 1, width)

    def forward(self, modality):
        values, mask = modality.cleaned()
        return Modality(self.table(values.clamp(max=len(self.vocabulary))), mask).cleaned()

@register
class Sum(torch.nn.Module):
    def __init__(self, dims: dict[str, int], out_dim: int, scale: float = 1.0):
        super().__init__()
        self.dims, self.scale = dims, scale
        self.parts = torch.nn.ModuleDict({name: torch.nn.Linear(dim, out_dim) for name, dim in dims.items()})

    def forward(self, features, return_weights=False):
        fused = sum(self.scale * self.parts[name](features[name].pooled()) for name in self.dims)
        return (fused, {}) if return_weights else fused

@register
class Cool(Classification):
    pass
"""


def test_classes_of_ones_own_are_trained_saved_and_found_again(folder, tmp_path, monkeypatch):
    make_data(tmp_path, {"train": 8}, ["text"])
    (tmp_path / "own_words.py").write_text(OWN)
    (tmp_path / "own.yaml").write_text(
        "model:\n  encoders: {text: {type: Frozen, encoder: {type: own_words.Words}}}\n"
        "  fusion: {type: own_words.Sum, scale: 2}\n  head: {type: own_words.Cool}\n"
        "data: {train: train.csv}\n"
        "training: {epochs: 1, batch_size: 4, lr: 1e-3, seed: 0, device: cpu}\noutput: out\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    bad = ["model.encoders.text.encoder.widht=3", "model.fusion.scale=big", "model.head.num_classes=x"]
    lines = run("train", tmp_path / "own.yaml", *changed(*bad)).output.splitlines()
    assert [line.split()[0] for line in lines] == [change.partition("=")[0] for change in bad]
    assert "type, width, copy; did you mean 'width'?" in lines[0]
    done = run("train", tmp_path / "own.yaml")
    assert done.exit_code == 0, done.output
    found = read_yaml(tmp_path / "out/run.yaml")["model"]
    assert found["fusion"] == {"type": "own_words.Sum", "out_dim": 64, "scale": 2.0}
    assert found["encoders"]["text"]["encoder"] == {"type": "own_words.Words", "width": 4, "copy": False}
    command = [sys.executable, "-m", "mmbook.app.cli", "evaluate", "out", "train.csv"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True
    )  # a process that knows nothing
    assert done.returncode == 0 and "majority class" in done.stdout, done.stderr


def test_regression_counts_the_numbers_of_a_label(folder, tmp_path):
    rows = [["labels", "image"], *([f"{i} {-i}", folder / f"train{i}.png"] for i in range(6))]
    with (tmp_path / "train.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    (tmp_path / "config.yaml").write_text(
        "model: {encoders: {image: {type: SmallCNN, channels: [8]}}, fusion: {type: late},"
        " head: {type: Regression}}\n"
        "data: {train: train.csv}\n"
        "training: {epochs: 1, batch_size: 4, lr: 1e-3, seed: 0}\noutput: out\n"
    )
    done = run("train", tmp_path / "config.yaml")
    assert done.exit_code == 0, done.output
    done = run("evaluate", tmp_path / "out", tmp_path / "train.csv")
    assert done.exit_code == 0 and "(mean of this test set)" in done.output, done.output
    assert MultimodalModel.from_pretrained(tmp_path / "out").head.num_targets == 2


def test_the_example_in_the_readme_runs(tmp_path):
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
    commands = re.findall(r"^mmbook (train|evaluate|predict|export|shard) ([^#\n]*)", readme, re.MULTILINE)
    assert {name for name, _ in commands} == {"train", "evaluate", "predict", "export", "shard"}
    make_data(tmp_path / "posts", {"train": 16, "valid": 8, "test": 8}, ["text", "image"])
    (tmp_path / "first.yaml").write_text(example, encoding="utf-8")
    here = Path.cwd()
    try:
        os.chdir(tmp_path)
        for name, arguments in commands:
            if name != "export":  # takes long, and has its own test
                done = run(name, *arguments.split())
                assert done.exit_code == 0, done.output
    finally:
        os.chdir(here)
    assert (tmp_path / "runs/first/model.safetensors").is_file() and (tmp_path / "answers.csv").is_file()


FUSIONS = "concat, mean, late, gated, attention"
BAD = {
    "unknown section": (["trainig.lr=3"], ["trainig is", "model, data, training, output", "'training'"]),
    "unknown option of training": (
        ["training.learning_rate=3"],
        ["training.learning_rate is 3", "batch_size"],
    ),
    "near option of training": (["training.epoch=3"], ["training.epoch is 3", "did you mean 'epochs'?"]),
    "folder given twice": (["training.output_dir=a"], ["training.output_dir is 'a'", "no such key"]),
    "missing option": (
        ["training={batch_size: 2, lr: 1, seed: 0}"],
        ["training.epochs is missing", "whole number"],
    ),
    "wrong type": (["training.lr=fast"], ["training.lr is 'fast'", "must be a number"]),
    "a truth is no number": (["training.epochs=true"], ["training.epochs is True", "a whole number"]),
    "value out of range": (["training.warmup=1.5"], ["training.warmup is 1.5", "from 0 to below 1"]),
    "group without parameters": (
        ["training.groups={encoder: {lr: 1e-4}}"],
        ["training.groups: ", "'encoder'", "encoders"],
    ),
    "option of a group": (
        ["training.groups={encoders: {rate: 1}}"],
        ["training.groups: ", "rate", "lr, weight_decay"],
    ),
    "score that is none": (
        ["training.monitor=acuracy"],
        ["training.monitor is 'acuracy'", "loss, accuracy, balanced_accuracy", "did you mean 'accuracy'"],
    ),
    "value of a list": (["training.optimizer=adm"], ["training.optimizer is 'adm'", "adamw, adam, sgd"]),
    "log of a list": (["training.logs=[cvs]"], ["training.logs has 'cvs'", "csv, tensorboard"]),
    "section is no mapping": (["training=3"], ["training is 3", "a mapping"]),
    "unknown encoder": (
        ["model.encoders.image.type=SmalCNN"],
        ["model.encoders.image.type is 'SmalCNN'", "MobileNetV2.pretrained", "did you mean 'SmallCNN'?"],
    ),
    "no type": (["model.encoders.image={size: 3}"], ["model.encoders.image.type is None", "SmallCNN"]),
    "unknown option of an encoder": (
        ["model.encoders.image.chanels=[8]"],
        ["model.encoders.image.chanels is [8]", "type, channels, groups", "did you mean 'channels'?"],
    ),
    "type of an encoder's option": (
        ["model.encoders.image.channels=8"],
        ["model.encoders.image.channels is 8", "a list of which each is a whole number"],
    ),
    "value that the encoder refuses": (
        ["model.encoders.image.channels=[9]"],
        ["model.encoders.image: channels are (9,)", "multiple of groups 8"],
    ),
    "encoder of another modality": (
        ["model.encoders.text={type: GRU}"],
        [
            "model.encoders.text.type is 'GRU'",
            "reads audio",
            "Bert, Bert.minilm, Bert.from_pretrained, Word2Vec",
        ],
    ),
    "unknown part of an encoder": (
        ["model.encoders.image={type: Frozen, encoder: {type: SmallCNN, group: 4}}"],
        ["model.encoders.image.encoder.group is 4", "did you mean 'groups'?"],
    ),
    "nothing in a wrapper": (
        ["model.encoders.image={type: Frozen}"],
        ["model.encoders.image.encoder is missing", "{type: NAME}"],
    ),
    "unknown fusion": (
        ["model.fusion.type=atention"],
        ["model.fusion.type is 'atention'", FUSIONS, "did you mean 'attention'?"],
    ),
    "unknown option of a fusion": (
        ["model.fusion.rank=3"],
        ["model.fusion.rank is 3", "type, out_dim, missing, modality_dropout, dropout"],
    ),
    "value that the fusion refuses": (["model.fusion.missing=ones"], ["model.fusion: ", "'ones'", "zeros"]),
    "unknown head": (
        ["model.head.type=Detection"],
        ["model.head.type is 'Detection'", "Classification, Regression"],
    ),
    "option of a head": (
        ["model.head.dim=3"],
        ["model.head.dim is 3", "num_classes, hidden, dropout, linear"],
    ),
    "fewer classes than labels": (
        ["model.head.num_classes=3"],
        ["model.head.num_classes is 3", "2 classes: bad, good"],
    ),
    "label not among classes": (
        ["model.classes=[bad, great]"],
        ["data.train: row 1", "train.csv", "'good'", "bad, great"],
    ),
    "words for numbers": (
        ["model.head={type: Regression}"],
        ["data.train: row 0", "'bad'", "a finite number"],
    ),
    "processor of another modality": (
        ["model.processors.image.type=AudioProcessor"],
        ["model.processors.image.type is 'AudioProcessor'", "ImageProcessor"],
    ),
    "processor without encoder": (
        ["model.processors.video={type: VideoProcessor}"],
        ["model.processors", "'video'", "text, image, audio"],
    ),
    "no word is left": (
        ["model.processors.text={type: WordProcessor, vocabulary: {min_count: 99}}"],
        ["model.processors.text: ", "min_count=99"],
    ),
    "no file": (["data.train=trian.csv"], ["data.train: ", "no CSV file", "trian.csv"]),
    "no shards": (["data.train=shards-*.tar"], ["data.train: ", "no shards", "shards-*.tar"]),
    "no labels": (["data.valid=unlabelled.csv"], ["data.valid: ", "text, image, audio", "labels"]),
    "a column that is missing": (
        ["data.valid=narrow.csv"],
        ["model.encoders.audio: ", "narrow.csv has no 'audio'", "only text, image"],
    ),
    "a modality without encoder": (
        ["model.encoders={text: {type: Word2Vec}, image: {type: SmallCNN}}"],
        ["data.train: ", "train.csv has 'audio'", "text, image", "model.encoders.audio"],
    ),
    "another label in valid": (["data.valid=odd.csv"], ["data.valid: row 0", "'odd'", "bad, good"]),
    "no saved model": (["model={from: runs/none}"], ["model.from: ", "runs/none", "config.json"]),
    "change without value": (["training.lr"], ["--set is 'training.lr'", "KEY=VALUE"]),
    "change inside a value": (["training.lr.x=3"], ["--set is 'training.lr.x=3'", "training.lr is 0.01"]),
    "output of another type": (["output=3"], ["output is 3", "text"]),
    "no module of one's own": (
        ["model.encoders.text={type: nowhere.Letters}"],
        ["model.encoders.text.type: ", "no module nowhere", "PYTHONPATH"],
    ),
    "a class that is not registered": (
        ["model.encoders.text={type: torch.nn.Linear}"],
        ["model.encoders.text.type: ", "'torch.nn.Linear' is no registered class", "@register"],
    ),
    "no class at all": (
        ["model.fusion={type: os.system, command: ls}"],
        ["model.fusion.type: ", "'os.system' is no registered class"],
    ),
    "a class for something else": (
        ["model.head.type=mmbook.models.detection.Detection"],
        ["model.head.type is 'mmbook.models.detection.Detection', which is no subclass of Classification or"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_config_is_told_by_key_value_and_what_is_allowed(folder, case):
    changes, words = BAD[case]
    (folder / "unlabelled.csv").write_text("text,image,audio\na,train0.png,train0.wav\n")
    (folder / "narrow.csv").write_text("text,image,labels\na,train0.png,bad\n")
    (folder / "odd.csv").write_text("text,image,audio,labels\na,train0.png,train0.wav,odd\n")
    done = run("train", folder / "config.yaml", *changed("output=runs/bad", *changes))
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit), done.output
    (line, *more) = [line for line in done.output.splitlines() if all(word in line for word in words)] or [""]
    assert line and not more, done.output
    assert "Traceback" not in done.output and not (folder / "runs/bad").exists()


def test_all_problems_are_told_at_once(folder):
    several = ["training.epochs=0", "model.fusion.type=sum", "data.train=none.csv", "model.head.hiden=3"]
    lines = run("train", folder / "config.yaml", *changed(*several)).output.splitlines()
    keys = ["model.fusion.type", "model.head.hiden", "training.epochs", "data.train"]
    assert [line.replace(":", "").split()[0] for line in lines] == keys


def test_yaml_reads_numbers_and_words_as_people_write_them(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("a: 1e-3\nb: no\nc: 1E5\nd: true\ne: 1e3x\nf: [yes, 2, 2.5]\n")
    found = {"a": 1e-3, "b": "no", "c": 1e5, "d": True, "e": "1e3x", "f": ["yes", 2, 2.5]}
    assert read_yaml(file) == found and type(read_yaml(file)["a"]) is float
    odd = found | {"g": ["1e-3", "true", "null", "on", "12"]}  # words that look like something else
    file.write_text(yaml_of(odd))
    assert read_yaml(file) == odd and yaml.safe_load(file.read_text())["g"] == odd["g"]
    for text, words in {"a: 1\na: 2": "a stands there twice.*line 2", "[": "no YAML", "3": "holds 3"}.items():
        file.write_text(text)
        with pytest.raises(ConfigError, match=words):
            read_yaml(file)
    with pytest.raises(ConfigError, match="no configuration"):
        read_yaml(tmp_path / "none.yaml")


def test_other_commands_end_with_a_line_for_what_is_not_there(folder, tmp_path):
    wrong = [
        ("evaluate", folder / "runs/first", tmp_path / "none.csv"),
        ("predict", folder / "runs/first", tmp_path / "none.csv"),
        ("predict", tmp_path / "none", folder / "valid.csv"),
        ("export", folder / "runs/first", tmp_path / "out", "--format", "tflite"),
        ("shard", tmp_path / "none.csv", tmp_path / "out"),
        ("shard", "--index", tmp_path / "out"),
        ("shard",),
    ]
    for arguments in wrong:
        done = run(*arguments)
        assert done.exit_code == 1 and isinstance(done.exception, SystemExit), (arguments, done.exception)
        assert len(done.output.splitlines()) == 1, done.output
