"""Registered objects are rebuilt from JSON, readers' own too; what could not come back is not saved."""

import copy
import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from mmbook import MultimodalModel, Trainer
from mmbook.data.arrays import from_arrays
from mmbook.encoders import GRU, Frozen, Projected
from mmbook.fusion import FUSIONS, build_fusion
from mmbook.heads import Classification
from mmbook.models import fusion_on_features
from mmbook.registry import REGISTRY, build, config_of, find_class, register, type_name

SAVED = Path(__file__).parent / "saved" / "v0_1"


@pytest.mark.parametrize("name", FUSIONS)
def test_config_round_trip_through_json(name):
    fusion = FUSIONS[name]({"a": 3, "b": 4}, 5, dropout=0.25)
    again = build(json.loads(json.dumps(fusion.config)))
    assert type(again) is type(fusion) and again.config == fusion.config
    assert {k: v.shape for k, v in again.state_dict().items()} == {
        k: v.shape for k, v in fusion.state_dict().items()
    }


def test_unknown_type_lists_the_known():
    with pytest.raises(ValueError, match="'Concatt'.*Concat"):
        build({"type": "Concatt"})


def test_an_argument_that_json_cannot_hold_is_refused():
    @register
    class TakesAnything(nn.Module):
        def __init__(self, thing):
            super().__init__()

    with pytest.raises(TypeError, match="cannot stand in a config"):
        TakesAnything(object())


def test_two_classes_of_one_short_name_are_an_error_where_short_names_are_ours():
    def named(module):
        return type("Bert", (nn.Module,), {"__module__": module})

    with pytest.raises(ValueError, match=r"'Bert', in mmbook.encoders.bert and mmbook.other; rename one"):
        register(named("mmbook.other"))
    register(named("one")), register(named("two"))
    assert [type_name(find_class(name)) for name in ("Bert", "one.Bert", "two.Bert")] == [
        "Bert",
        "one.Bert",
        "two.Bert",
    ]
    assert find_class("Bert").__module__ == "mmbook.encoders.bert"


OWN = """
import torch
from mmbook.modality import Modality
from mmbook.registry import register

print("this module runs")

@register
class Letters(torch.nn.Module):
    reads, out_dim = "text", 4

    def __init__(self, count=9):
        super().__init__()
        self.table = torch.nn.Embedding(count, 4)

    def forward(self, modality):
        return Modality(self.table(modality.cleaned().values), modality.mask).cleaned()

class Unlisted(Letters):
    pass
"""
IDS = {"text": torch.tensor([[1, 2, 3], [4, 5, 6]])}


def model_of(encoder):
    return MultimodalModel(
        {"text": encoder}, build_fusion("mean", {"text": 4}, 4), Classification(4, 2)
    ).eval()


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of a reader's own, ``own_letters``, as imported."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code/own_letters.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path / "code")
    import own_letters

    yield own_letters
    forget("own_letters")


def forget(module):
    sys.modules.pop(module, None)
    for name in [name for name, cls in REGISTRY.items() if cls.__module__ == module]:
        del REGISTRY[name]


def test_a_class_of_ones_own_is_saved_by_its_module_and_comes_back_by_import(own, tmp_path):
    model = model_of(Projected(own.Letters(7), 4))
    model.save_pretrained(tmp_path / "model")
    config = json.loads((tmp_path / "model/config.json").read_text())
    assert config["encoders"]["text"]["type"] == "Projected"
    assert config["encoders"]["text"]["encoder"] == {"type": "own_letters.Letters", "count": 7}
    forget("own_letters")
    again = MultimodalModel.from_pretrained(tmp_path / "model")
    assert torch.equal(again(**IDS).logits, model(**IDS).logits)
    assert config["encoders"] == again.to_config()["encoders"]


def test_a_cell_that_runs_twice_replaces_its_class(tmp_path):
    """And until it has run, the error says so; after that the model comes back."""
    cell = tmp_path / "cell.py"
    cell.write_text(OWN)
    try:
        first = runpy.run_path(str(cell), run_name="__main__")["Letters"]
        model = model_of(first())
        model.save_pretrained(tmp_path / "model")
        second = runpy.run_path(str(cell), run_name="__main__")["Letters"]
        assert first is not second and find_class("__main__.Letters") is second
        again = MultimodalModel.from_pretrained(tmp_path / "model")
        assert isinstance(again.encoders["text"], second)
        assert torch.equal(again(**IDS).logits, model(**IDS).logits)
        # version 0.1 wrote the name alone
        assert type(build({"type": "Letters", "count": 5})) is second
    finally:
        REGISTRY.pop("__main__.Letters", None)
    with pytest.raises(ValueError, match="Letters is registered; run the cell or script that defines it"):
        MultimodalModel.from_pretrained(tmp_path / "model")


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_subclass_that_is_not_registered_is_refused_and_nothing_is_written(own, tmp_path, wrapped):
    """Its parent would come back in its place, with the same weights and other answers."""
    encoder = own.Unlisted()
    model = model_of(Frozen(encoder) if wrapped else encoder)
    for save in (model.save_pretrained, model.push_to_hub):
        with pytest.raises(ValueError, match=r"own_letters.Unlisted cannot be saved.*@register"):
            save(str(tmp_path / "model"))
    assert not (tmp_path / "model").exists()
    model_of(own.Letters()).save_pretrained(tmp_path / "model")
    before = {file.name: file.read_bytes() for file in (tmp_path / "model").iterdir()}
    with pytest.raises(ValueError, match="cannot be saved"):
        model.save_pretrained(tmp_path / "model")
    assert before == {file.name: file.read_bytes() for file in (tmp_path / "model").iterdir()}


def test_what_could_not_come_back_is_not_saved():
    class Plain(nn.Module):
        out_dim = 4

    with pytest.raises(ValueError, match=r"<locals>.Plain cannot be saved, for it is not registered"):
        model_of(Plain()).to_config()
    with pytest.raises(ValueError, match=r"<locals>.Plain cannot be saved, for no import finds"):
        model_of(register(Plain)()).to_config()


def test_a_config_runs_no_code_but_registered_classes(own, tmp_path, capsys):
    forget("own_letters")
    for name, reason in {
        "own_letters.Unlisted": "no registered class; put @register",
        "own_letters.print": "no registered class",
        "os.system": "no registered class",
        "torch.nn.Linear": "no registered class",
        "own_letters.more.Letters": "no module own_letters.more",
        "nowhere.Letters": "no module nowhere; put its folder on PYTHONPATH",
        "eval": "no class is registered as 'eval'; known: .*Bert",
    }.items():
        with pytest.raises(ValueError, match=reason):
            build({"type": name})
    assert "own_letters" not in sys.modules and "runs" not in capsys.readouterr().out


@pytest.mark.parametrize("place", ["", "deep"])
def test_code_that_came_with_a_model_does_not_run(own, tmp_path, monkeypatch, capsys, place):
    """Somebody puts a stranger's folder where they work, and loads the model in it."""
    monkeypatch.syspath_prepend(tmp_path)
    model_of(own.Letters()).save_pretrained(tmp_path / "theirs" / place)
    (tmp_path / "theirs/evil.py").write_text(OWN)
    file = tmp_path / "theirs" / place / "config.json"
    file.write_text(file.read_text().replace("own_letters", "theirs.evil"))
    capsys.readouterr()
    with pytest.raises(ValueError, match=r"theirs.evil, whose code in .*theirs may have come with it"):
        MultimodalModel.from_pretrained(tmp_path / "theirs" / place)
    assert capsys.readouterr().out == "" and "theirs.evil" not in sys.modules
    import theirs.evil

    assert isinstance(MultimodalModel.from_pretrained(file.parent).encoders["text"], theirs.evil.Letters)
    forget("theirs.evil")


def test_every_class_of_ours_is_known_to_a_process_that_loads_a_model():
    code = "import mmbook.models.saving, mmbook.registry as r; print(*r.REGISTRY)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"SetDetection", "MultiTask", "Aligned", "Wav2Vec2", "Features"} <= set(found.stdout.split())


def test_a_model_that_version_0_1_saved_still_answers():
    saved = load_file(SAVED / "model_answers.safetensors")
    logits = saved.pop("logits")
    model = MultimodalModel.from_pretrained(SAVED / "model")
    torch.testing.assert_close(model(**saved).logits, logits, rtol=1e-6, atol=1e-6)


def test_a_run_that_version_0_1_began_goes_on_to_the_same_losses(tmp_path):
    saved = load_file(SAVED / "run_data.safetensors")
    losses, labels = saved.pop("losses"), saved.pop("labels")
    shutil.copytree(SAVED / "run", tmp_path / "run")
    torch.manual_seed(0)
    model = fusion_on_features({"a": 3, "b": 2}, "concat", num_classes=2, width=4)
    data = from_arrays(saved, labels)
    options = {
        "epochs": 3,
        "batch_size": 5,
        "lr": 1e-2,
        "seed": 0,
        "device": "cpu",
        "save_every": 1,
        "keep": 1,
    }
    trainer = Trainer(model, data, data, output_dir=tmp_path / "run", resume=True, **options)
    history = trainer.fit()
    torch.testing.assert_close(
        torch.tensor(history["loss"].to_numpy()), losses.double(), rtol=1e-6, atol=1e-6
    )


def test_the_weights_may_be_read_by_whom_the_config_may(tmp_path):
    fusion_on_features({"a": 3}, "mean", num_classes=2).save_pretrained(tmp_path)
    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert len(set(modes.values())) == 1, modes


def test_a_subclass_that_is_registered_keeps_its_own_name_and_arguments(own):
    @register
    class Wide(own.Letters):
        def __init__(self, factor):
            super().__init__(9 * factor)

    assert Wide(2).config == {"type": type_name(Wide), "factor": 2}
    assert config_of(copy.deepcopy(GRU(width=4)))["type"] == "GRU"


def test_a_class_that_left_the_library_is_found_by_its_old_short_name() -> None:
    """In a process that has imported nothing of the book, as one that loads a model of version 0.1."""
    code = """
from mmbook.registry import find_class, type_name
found = find_class("LoRA")
print(found.__module__, type_name(found))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["mmbook.book.written.lora", "mmbook.book.written.lora.LoRA"], done.stderr
