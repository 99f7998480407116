"""Exported files: equal to the model, on batches of other sizes, and usable without mmbook."""

import json
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from mmbook import Modality, MultimodalModel, collate
from mmbook.app.export import ExportError, export_model, files
from mmbook.app.export.program import runnable, trace
from mmbook.encoders import ENCODERS
from mmbook.fusion import FUSIONS, build_fusion
from mmbook.heads import Classification
from mmbook.models import fusion_on_features
from mmbook.preprocess import ImageProcessor
from tests.test_encoders import LENGTHS, item, small

DIMS = {"text": 6, "audio": 4}

# Unrolled step by step, so their time is that of the example.
UNROLLED = {"lstm", "gru"}

# What their sizes in SMALL allow, in tokens and frames.
LONGEST = {"bert": 40, "space_time": 11}


def on_features(fusion):
    torch.manual_seed(0)
    return fusion_on_features(DIMS, fusion, num_classes=3)


def features(size=3, lengths=(5, 7), seed=0, missing=None):
    g = torch.Generator().manual_seed(seed)
    rows = []
    for i in range(size):
        row = {
            name: torch.randn(max(1, steps - i), dim, generator=g)
            for (name, dim), steps in zip(DIMS.items(), lengths, strict=True)
        }
        rows.append({name: None if i == 1 and name == missing else x for name, x in row.items()})
    return collate(rows)


def with_encoder(name):
    encoder = small(name)
    fusion = build_fusion("mean", {encoder.reads: encoder.out_dim}, 8)
    model = MultimodalModel({encoder.reads: encoder}, fusion, Classification(8, 2)).eval()
    length = 1300 if encoder.reads == "audio" else LENGTHS[encoder.reads][0]
    rows = [{encoder.reads: item(encoder.reads, n)} for n in (length, max(1, length // 2))]
    return model, collate(rows)


def run(folder, file, batch):
    """As somebody would who has the files and their description only."""
    description = json.loads((folder / "model.json").read_text())
    batch = {name: batch[name] for name in description["inputs"]}
    if file == "model.onnx":
        session = onnxruntime.InferenceSession(folder / file)
        return torch.from_numpy(session.run(None, {k: v.numpy() for k, v in batch.items()})[0])
    return torch.export.load(folder / file).module(check_guards=False)(**batch)


def equal(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FUSIONS)
def test_every_fusion_equals_its_program(name):
    model = on_features(name).eval()
    program, fixed, longest = trace(model, features())
    assert fixed == {} and longest == dict.fromkeys(DIMS)
    for size, lengths, missing in ((1, (9, 2), None), (4, (3, 12), "audio")):
        batch = features(size, lengths, seed=5, missing=missing)
        equal(runnable(program)(batch), model(**batch).logits)


@pytest.mark.parametrize("name", ["attention", "tensor"])
def test_fusions_equal_their_onnx_file(name, tmp_path):
    """A softmax, a product; the fixture below adds a gate. Each takes seconds."""
    model = on_features(name).eval()
    (row,) = export_model(model, tmp_path, features(), ("onnx",), runs=1)
    assert row["fixed"] == {} and row["difference"] < 1e-4
    for size, lengths, missing in ((1, (9, 2), None), (4, (3, 12), "audio")):
        batch = features(size, lengths, seed=5, missing=missing)
        equal(run(tmp_path, "model.onnx", batch), model(**batch).logits)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_equals_its_program(name):
    model, example = with_encoder(name)
    (reads,) = model.encoders
    program, fixed, longest = trace(model, example)
    length = example[reads].shape[1]
    assert fixed == ({reads: length} if name in UNROLLED else {})
    assert longest == ({} if name in UNROLLED else {reads: LONGEST.get(name)})
    for steps in {length} if name in UNROLLED else {1, max(1, length - 1), length + 3}:
        values = torch.stack([item(reads, steps) for _ in range(5)])
        mask = torch.ones(values.shape[:2], dtype=torch.bool)
        mask[1, 1:], mask[2] = False, False
        batch = {reads: values, f"{reads}_mask": mask}
        equal(runnable(program)(batch), model(**batch).logits)


def pictures_and_texts():
    """Three samples, longer than those of the example; one lacks the picture, one the text."""
    batch = {"text": torch.stack([item("text", 9)] * 3), "image": torch.rand(3, 1, 3, 32, 32)}
    batch["text_mask"] = torch.tensor([[True] * 9, [True] * 4 + [False] * 5, [False] * 9])
    batch["image_mask"] = torch.tensor([[True], [False], [True]])
    return batch


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Pictures and texts, in both formats."""
    folder = tmp_path_factory.mktemp("exported")
    torch.manual_seed(0)
    encoders = {"text": small("bert"), "image": small("small_cnn")}
    fusion = build_fusion("gated", {n: e.out_dim for n, e in encoders.items()}, 8, missing="learned")
    model = MultimodalModel(
        encoders,
        fusion,
        Classification(8, 2),
        preprocess={"image": ImageProcessor(32)},
        classes=["bad", "good"],
    )
    rows = [
        {"text": item("text", 6), "image": torch.rand(1, 3, 32, 32), "labels": 1},
        {"text": item("text", 4)},
    ]
    rows[1]["labels"] = 0
    table = export_model(model, folder, collate(rows), runs=3)
    return folder, model, table


def test_the_table_says_size_difference_and_latency(exported):
    folder, model, table = exported
    assert model.training, "the model stays as it was"
    assert [row["format"] for row in table] == ["onnx", "torch"]
    for row in table:
        file = folder / row["file"]
        assert file.stat().st_size == row["size_bytes"]
        assert 0 <= row["difference"] < 1e-4 and row["latency_ms"] > 0 and row["model_ms"] > 0
        assert row["ratio"] == pytest.approx(row["latency_ms"] / row["model_ms"])
        assert row["threads"] == torch.get_num_threads() and row["batch_size"] == 2
    assert {file.name for file in folder.iterdir()} == {"model.onnx", "model.pt2", "model.json"}


def test_the_description_says_what_one_needs_to_use_the_files(exported):
    folder = exported[0]
    found = json.loads((folder / "model.json").read_text())
    assert found["inputs"] == {
        "text": {"dtype": "int64", "axes": ["batch", "text_length"]},
        "text_mask": {"dtype": "bool", "axes": ["batch", "text_length"]},
        "image": {"dtype": "float32", "axes": ["batch", "image_length", 3, 32, 32]},
        "image_mask": {"dtype": "bool", "axes": ["batch", "image_length"]},
    }
    assert found["outputs"] == {"logits": {"dtype": "float32", "axes": ["batch", 2]}}
    assert found["classes"] == ["bad", "good"] and found["preprocess"]["image"]["size"] == 32
    assert "ImageNet" in found["preprocess_in_words"]["image"]
    assert found["longest"] == {"text_length": 40, "image_length": None}, "Bert has 40 positions"


def test_both_files_equal_the_model_as_somebody_else_runs_them(exported):
    folder, model, _ = exported
    batch = pictures_and_texts()
    for file in ("model.onnx", "model.pt2"):
        equal(run(folder, file, batch), model.eval()(**batch).logits)


WITHOUT_MMBOOK = """
import json, sys
import numpy as np, onnxruntime
folder = sys.argv[1]
inputs = dict(np.load(folder + "/inputs.npz"))
(logits,) = onnxruntime.InferenceSession(folder + "/model.onnx").run(["logits"], inputs)
np.save(folder + "/logits.npy", logits)
assert not any(name.split(".")[0] in ("mmbook", "torch") for name in sys.modules)
"""


def test_onnx_runs_in_a_process_without_mmbook_and_without_torch(exported, tmp_path):
    folder, model, _ = exported
    (tmp_path / "model.onnx").write_bytes((folder / "model.onnx").read_bytes())
    batch = {"text": torch.stack([item("text", 9)] * 3), "image": torch.rand(3, 1, 3, 32, 32)}
    batch |= {
        "text_mask": torch.ones(3, 9, dtype=torch.bool),
        "image_mask": torch.tensor([[True], [False], [True]]),
    }
    batch["text_mask"][2] = False
    np.savez(tmp_path / "inputs.npz", **{name: value.numpy() for name, value in batch.items()})
    subprocess.run([sys.executable, "-c", WITHOUT_MMBOOK, str(tmp_path)], check=True)
    found = torch.from_numpy(np.load(tmp_path / "logits.npy"))
    equal(found, model.eval()(**batch).logits)


def test_a_file_that_differs_is_an_error_that_names_it_and_is_not_left_behind(tmp_path, monkeypatch):
    read = files.TorchFormat.read
    monkeypatch.setattr(
        files.TorchFormat, "read", lambda self, path: lambda batch: read(self, path)(batch) + 0.01
    )
    (tmp_path / "model.json").write_text("an older one")
    with pytest.raises(ExportError, match="the torch file differs from the model by 0.01"):
        export_model(on_features("concat"), tmp_path, features(), ("torch",))
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("model.json", "an older one")]


class Branching(nn.Module):
    """An encoder that looks at its values before it decides what to do."""

    out_dim, reads = 6, "features"

    def forward(self, modality):
        if modality.values.sum() > 0:
            return modality.cleaned()
        return Modality(-modality.cleaned().values, modality.mask)


class CountsRows(nn.Module):
    """A head that cannot work on another number of samples than the one it was traced with."""

    def forward(self, fused, labels=None):
        return fused * torch.arange(len(fused))[:, None], None


def test_what_cannot_be_exported_is_named_with_the_reason(tmp_path):
    model = on_features("mean")
    model.encoders["text"] = Branching()
    with pytest.raises(ExportError, match=r"encoder of 'text', Branching.*test_export\.py.*values\.sum"):
        export_model(model, tmp_path, features(), ("torch",))
    model = on_features("mean")
    model.head = CountsRows()
    with pytest.raises(ExportError, match=r"fusion, Mean, or the head, CountsRows"):
        export_model(model, tmp_path, features(), ("torch",))
    assert not list(tmp_path.iterdir())


def test_errors_name_what_is_wrong(tmp_path, monkeypatch):
    model = on_features("mean")
    for wrong in (("tflite",), ()):
        with pytest.raises(ValueError, match="choose of onnx, torch"):
            export_model(model, tmp_path, features(), wrong)
    with pytest.raises(ValueError, match="no 'audio'.*text, audio"):
        export_model(model, tmp_path, {k: v for k, v in features().items() if "audio" not in k})
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r'onnxscript.*pip install "mmbook\[train\]"'):
        export_model(model, tmp_path, features())
