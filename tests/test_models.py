"""MultimodalModel: the batch at its boundary, saving and loading, and answers to raw input."""

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from mmbook import Modality, MultimodalModel, collate
from mmbook.data.arrays import from_arrays
from mmbook.encoders import Flattened, MelCNN, Pooled, SmallCNN
from mmbook.fusion import FUSIONS, build_fusion
from mmbook.heads import Classification, Regression
from mmbook.models import Features, encode_dataset, fusion_on_features
from mmbook.models.detection import Detection
from mmbook.preprocess import AudioProcessor, ImageProcessor


def picture_and_sound(fusion="attention", **options):
    torch.manual_seed(0)
    encoders = {"image": SmallCNN(channels=(8, 16)), "audio": MelCNN(channels=(8, 16))}
    joined = build_fusion(fusion, {n: e.out_dim for n, e in encoders.items()}, 12, **options)
    return MultimodalModel(
        encoders,
        joined,
        Classification(12, 2),
        preprocess={"image": ImageProcessor(size=32), "audio": AudioProcessor()},
        classes=["bad", "good"],
    )


def batch(size=3):
    g = torch.Generator().manual_seed(1)
    return collate(
        [
            {
                "image": torch.randn(1, 3, 32, 32, generator=g) if i != 1 else None,
                "audio": torch.randn(3000 + 500 * i, generator=g),
                "labels": i % 2,
                "id": i,
            }
            for i in range(size)
        ]
    )


def test_forward_takes_the_flat_batch_and_gives_loss_and_logits():
    model, x = picture_and_sound(), batch()
    output = model(**x)
    assert output.logits.shape == (3, 2)
    torch.testing.assert_close(output.loss, torch.nn.functional.cross_entropy(output.logits, x["labels"]))
    assert model(**{k: v for k, v in x.items() if k != "labels"}).loss is None
    assert output.attentions.keys() == {"image", "audio"}
    assert picture_and_sound("concat")(**x).attentions is None


def test_forward_names_an_unknown_key():
    with pytest.raises(ValueError, match="'txt'.*image, audio"):
        picture_and_sound()(txt=torch.ones(1, 2))


def test_encoders_and_fusion_must_fit():
    with pytest.raises(ValueError, match="'image': 5.*'image': 16"):
        fusion = build_fusion("concat", {"image": 5}, 4)
        MultimodalModel({"image": SmallCNN(channels=(8, 16))}, fusion, Classification(4, 2))


NEW_PROCESS = """
import sys, torch
from mmbook import MultimodalModel
from safetensors.torch import load_file, save_file
x = load_file(sys.argv[1])
for folder in sys.argv[2:]:
    model = MultimodalModel.from_pretrained(folder)
    save_file({**model.state_dict(), "LOGITS": model(**x).logits.detach()}, folder + "/loaded.safetensors")
"""


def test_saved_and_loaded_in_a_new_process_keys_and_logits_are_equal(tmp_path):
    models, x = {name: picture_and_sound(name).eval() for name in FUSIONS}, batch()
    models["filled"] = picture_and_sound("concat", missing="mean", modality_dropout=0.5).eval()
    save_file(x, tmp_path / "x.safetensors")
    for name, model in models.items():
        model.save_pretrained(tmp_path / name)
        assert {p.name for p in (tmp_path / name).iterdir()} == {
            "config.json",
            "model.safetensors",
            "README.md",
        }
    files = [str(tmp_path / "x.safetensors"), *(str(tmp_path / name) for name in models)]
    subprocess.run([sys.executable, "-c", NEW_PROCESS, *files], check=True)  # one: starting it costs seconds
    for name, model in models.items():
        loaded = load_file(tmp_path / name / "loaded.safetensors")
        torch.testing.assert_close(loaded.pop("LOGITS"), model(**x).logits, rtol=1e-6, atol=1e-6)
        assert loaded.keys() == model.state_dict().keys()
        assert all(torch.equal(loaded[k], v) for k, v in model.state_dict().items())
        assert f"| fusion | {type(model.fusion).__name__} |" in (tmp_path / name / "README.md").read_text()


def test_a_missing_weight_is_an_error_and_not_a_silent_default(tmp_path):
    model = picture_and_sound()
    model.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state.pop("head.net.1.bias")
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(RuntimeError, match="head.net.1.bias"):
        MultimodalModel.from_pretrained(tmp_path)


def test_config_is_json_and_rebuilds_the_model():
    model = picture_and_sound(dropout=0.3)
    config = json.loads(json.dumps(model.to_config()))
    again = MultimodalModel.from_config(config)
    assert again.to_config() == model.to_config() and again.preprocess["image"].size == 32
    again.load_state_dict(model.state_dict(), strict=True)


def raw(folder, count=5):
    rng, rows = np.random.default_rng(0), []
    for i in range(count):
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(folder / f"{i}.png")
        soundfile.write(folder / f"{i}.wav", rng.normal(size=8000 + 800 * i).clip(-1, 1) * 0.1, 22050)
        rows.append({"image": folder / f"{i}.png", "audio": str(folder / f"{i}.wav")})
    return rows


def test_predict_reads_files_in_batches_and_a_row_may_lack_a_modality(tmp_path):
    model, rows = picture_and_sound(), raw(tmp_path)
    rows[1]["audio"] = None
    del rows[2]["image"]
    answers = model.predict(rows, batch_size=2)
    alone = [model.predict([row])[0] for row in rows]
    for together, single in zip(answers, alone, strict=True):
        assert together["label"] == max(together["scores"], key=together["scores"].get)
        assert together["scores"] == pytest.approx(single["scores"], abs=1e-5)
    assert answers[1]["weights"] == pytest.approx({"image": 1.0, "audio": 0.0}, abs=1e-6)
    assert model.training, "predict leaves the mode as it found it"
    assert model.predict([]) == []


def test_predict_names_what_it_cannot_read(tmp_path):
    model = picture_and_sound()
    with pytest.raises(ValueError, match="'text'.*image, audio"):
        model.predict([{"text": "hello"}])
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    with pytest.raises(ValueError, match="broken.png"):
        model.predict([{"image": tmp_path / "broken.png"}])


@pytest.mark.parametrize("targets", [1, 3])
def test_regression_head_learns_numbers_and_predicts_them(targets):
    model = fusion_on_features({"a": 4}, "concat", num_targets=targets)
    labels = torch.randn(5) if targets == 1 else torch.randn(5, targets)
    output = model(a=torch.randn(5, 2, 4), labels=labels)
    expected = (output.logits - labels.reshape(5, targets)).pow(2).mean()
    torch.testing.assert_close(output.loss, expected)


def test_fusion_on_features_wants_exactly_one_task():
    for wrong in ({}, {"num_classes": 2, "num_targets": 1}):
        with pytest.raises(ValueError, match="exactly one"):
            fusion_on_features({"a": 4}, "concat", **wrong)


@pytest.mark.parametrize("pool", [False, True])
def test_encoded_features_give_the_same_answer_as_the_whole_model(pool):
    model, x = picture_and_sound("attention").eval(), batch(5)
    if pool:
        model.encoders = torch.nn.ModuleDict({n: Pooled(e) for n, e in model.encoders.items()}).eval()
    rows = [
        {"image": image if i != 1 else None, "audio": audio[mask], "labels": i % 2}
        for i, (image, audio, mask) in enumerate(zip(x["image"], x["audio"], x["audio_mask"], strict=True))
    ]
    features = encode_dataset(dict(model.encoders), rows, batch_size=2)
    assert not pool or features.arrays["image"].shape[1] == 1
    assert int(features.lengths["image"][1]) == 0
    short = fusion_on_features(features.dims, "attention", num_classes=2, width=12)
    short.fusion.load_state_dict(model.fusion.state_dict())
    short.head.load_state_dict(model.head.state_dict())
    inputs = collate([features[i] for i in range(5)])
    torch.testing.assert_close(short.eval()(**inputs).logits, model(**x).logits, rtol=1e-4, atol=1e-5)


def test_rows_of_like_length_are_encoded_together():
    class Counting(Features):
        def forward(self, modality):
            lengths = modality.mask.sum(dim=1)
            assert lengths.max() <= 1.5 * lengths.min() and len(lengths) <= 5
            return super().forward(modality)

    sizes = torch.randperm(40).add(1).tolist()
    rows = [{"a": torch.full((n, 1), float(n)), "b": torch.ones(3, 2), "labels": n} for n in sizes]
    encoder = Counting(1)
    found = encode_dataset({"a": encoder}, rows, batch_size=5)
    assert found.lengths["a"].tolist() == found.labels.tolist() == sizes and list(found.arrays) == ["a"]
    assert all(torch.equal(found[i]["a"], row["a"]) for i, row in enumerate(rows))
    with pytest.raises(ValueError, match="no sample of the dataset has 'c'"):
        encode_dataset({"c": Features(1)}, rows)


def test_late_fusion_ends_in_the_logits_themselves():
    for task in ({"num_classes": 3}, {"num_targets": 2}):
        model = fusion_on_features({"a": 4, "b": 5}, "late", **task, missing="zeros")
        x = {"a": torch.randn(6, 2, 4), "b": torch.randn(6, 1, 5)}
        fused = model.fusion({n: Modality(v, torch.ones(v.shape[:2]).bool()) for n, v in x.items()})
        assert torch.equal(model(**x).logits, fused) and not list(model.head.parameters())
        again = MultimodalModel.from_config(json.loads(json.dumps(model.to_config())))
        assert not list(again.head.parameters())
        for wrong in ({"width": 8}, {"hidden": 8}):
            with pytest.raises(ValueError, match="'late'.*leave them out"):
                fusion_on_features({"a": 4}, "late", **task, **wrong)


def test_a_head_without_a_layer_refuses_what_it_would_ignore():
    for wrong in ({"dim": 4}, {"hidden": 5}, {"dropout": 0.1}):
        with pytest.raises(ValueError, match="linear=False"):
            Classification(**{"dim": 3, "num_classes": 3, "linear": False} | wrong)
    with pytest.raises(ValueError, match="dim must be 2 .is 4."):
        Regression(4, 2, linear=False)


def test_heads_refuse_sizes_that_make_no_sense():
    with pytest.raises(ValueError, match="num_classes is 1"):
        Classification(4, 1)
    with pytest.raises(ValueError, match="num_targets is 0"):
        Regression(4, 0)


def test_labels_of_shape_b_do_not_broadcast_against_b_1():
    values = torch.tensor([[1.0], [2.0]])
    head = Regression(1)
    head.net = torch.nn.Identity()
    assert head(values, torch.tensor([1.0, 2.0])).loss == 0


def test_from_arrays_and_fusion_on_features_are_five_lines(tmp_path):
    data = from_arrays({"a": np.ones((4, 3)), "b": np.ones((4, 2, 5))}, [0, 1, 0, 1])
    model = fusion_on_features(data.dims, "attention", num_classes=2)
    assert model(**collate([data[i] for i in range(4)])).logits.shape == (4, 2)
    assert isinstance(Modality(torch.ones(1, 1), torch.ones(1, 1).bool()), tuple)


def test_detection_loss_is_zero_only_at_the_right_class_and_box():
    head = Detection(1, 3)
    box = torch.tensor([[0.2, 0.4, 0.3, 0.6]])
    labels = torch.cat([torch.tensor([[1.0]]), box], dim=1)
    head.net = torch.nn.Identity()
    sure = torch.cat([torch.tensor([[0.0, 50.0, 0.0]]), box.logit()], dim=1)
    assert head(sure, labels).loss < 1e-5
    moved = torch.cat([sure[:, :3], (box + 0.1).logit()], dim=1)
    torch.testing.assert_close(head(moved, labels).loss, torch.tensor(0.5))  # 5 times 0.1
    assert head(torch.cat([sure[:, [1, 0, 2]], sure[:, 3:]], dim=1), labels).loss > 10


def test_flattened_keeps_places_and_names_a_wrong_size():
    grid = SmallCNN(channels=(8, 16))
    image = Modality(torch.randn(2, 1, 3, 32, 32), torch.tensor([[True], [False]]))
    tokens = grid(image)
    flat = Flattened(grid, tokens.values.shape[1])
    values, mask = flat(image)
    torch.testing.assert_close(values[0, 0].reshape(-1, 16), tokens.values[0])
    assert values.shape == (2, 1, flat.out_dim) and mask.tolist() == [[True], [False]]
    with pytest.raises(ValueError, match="made for 7"):
        Flattened(grid, 7)(image)
