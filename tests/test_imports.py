"""Importing mmbook is cheap: the libraries that cost seconds load only where they are used."""

import subprocess
import sys

import pytest

HEAVY = ("transformers", "torchvision", "torchaudio", "torchmetrics", "pandas", "matplotlib", "accelerate")


@pytest.mark.parametrize(
    "module", ["mmbook", "mmbook.preprocess", "mmbook.fusion", "mmbook.encoders", "mmbook.data"]
)
def test_light_import(module):
    code = f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_import_of_the_package_alone_does_not_load_torch():
    code = "import sys, mmbook; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_public_names_and_an_unknown_one():
    import mmbook
    import mmbook.scale as by_submodule

    assert mmbook.scale is by_submodule and mmbook.scale() in ("laptop", "gpu")
    assert mmbook.Trainer.__module__ == "mmbook.train.trainer"
    with pytest.raises(AttributeError, match="Trainr"):
        mmbook.Trainr  # noqa: B018


def test_scale_names_its_values(monkeypatch):
    import mmbook

    monkeypatch.setenv("MMBOOK_SCALE", "huge")
    with pytest.raises(ValueError, match="'huge'.*laptop, gpu"):
        mmbook.scale()
