"""The command `mmbook`."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import mmbook
from mmbook import assets
from mmbook.app.cli import app


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """No asset is here, and no source can be reached."""
    monkeypatch.setenv("MMBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MMBOOK_OFFLINE", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.delenv("MMBOOK_MIRROR", raising=False)
    return tmp_path / "cache"


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200"})


def test_version():
    assert run("--version").output == f"mmbook {mmbook.__version__}\n"


def test_fetch_fails_with_the_list_of_what_is_missing(empty_cache):
    result = run("fetch", "twemoji", "openmoji")
    assert result.exit_code == 1
    assert "'twemoji'" in result.output and "'openmoji'" in result.output
    assert "minilm" not in result.output


def test_fetch_of_an_unknown_name(empty_cache):
    result = run("fetch", "wordnet")
    assert result.exit_code == 1
    assert all(name in result.output for name in ("wordnet", *assets.registry()))


def test_doctor_knows_missing_and_corrupt(empty_cache):
    name, asset = next(iter(assets.registry().items()))
    file = empty_cache / "assets" / name / asset.file
    file.parent.mkdir(parents=True)
    file.write_bytes(b"broken")
    found = json.loads(run("doctor", "--json").stdout)
    assert found["assets"].pop(name)["status"] == "corrupt"
    assert {entry["status"] for entry in found["assets"].values()} == {"missing"}
    able = {row["what"]: row["able"] for row in found["runs"]}
    why = {row["what"]: row["why"] for row in found["runs"]}
    assert able["chapters without a network"] is False
    assert "mmbook fetch" in why["chapters without a network"]
    assert all(bool(why[what]) != able[what] for what in able), (
        "what cannot run says why, what can says nothing"
    )


def test_doctor_prints_every_fact_in_tables(empty_cache):
    found = json.loads(run("doctor", "--json").stdout)
    text = run("doctor").output
    for word in (*found["packages"], *found["settings"], *found["assets"], found["python"], "GPU", "memory"):
        assert word in text
    assert found["settings"]["MMBOOK_OFFLINE"] == "1"
    assert found["packages"]["torch"] and found["cpus"] >= 1 and found["threads"] >= 1
    assert found["cache"]["free"] > 0


def test_doctor_says_what_this_processor_does_well(empty_cache):
    """Whether bfloat16 pays, and what recurrent layers do: what the encoders do is what doctor says."""
    import torch

    from mmbook.encoders.recurrent import autocast_recurrent

    found = json.loads(run("doctor", "--json").stdout)["processor"]
    assert found["instructions"] == torch.backends.cpu.get_cpu_capability()
    with torch.autocast("cpu", torch.bfloat16), autocast_recurrent(torch.device("cpu")):
        kept = not torch.is_autocast_enabled("cpu")
    assert ("recurrent layers stay in float32" in found["advice"]) == kept
    assert ("bfloat16" in found["half_precision"]) != kept
    text = " ".join(run("doctor").output.split())
    assert found["instructions"] in text and "precision='bf16'" in text


def test_doctor_says_why_gpu_scale_cannot_run(monkeypatch, empty_cache):
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    runs = {row["what"]: row for row in json.loads(run("doctor", "--json").stdout)["runs"]}
    (gpu,) = [row for what, row in runs.items() if "GPU" in what]
    assert gpu["able"] is False and "no GPU" in gpu["why"]


HELP = """
import sys
from mmbook.app.cli import app
for command in ([], *([name] for name in sys.argv[1:])):
    try:
        app([*command, "--help"])
    except SystemExit as end:
        assert end.code == 0, command
heavy = "torch", "transformers", "pandas", "matplotlib", "accelerate", "scipy"
print("loaded:", [name for name in heavy if name in sys.modules])
"""


def test_help_loads_nothing_that_takes_seconds():
    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert {"train", "evaluate", "predict", "export", "shard", "fetch", "doctor"} == set(names)
    done = subprocess.run([sys.executable, "-c", HELP, *names], capture_output=True, text=True, check=True)
    assert "loaded: []" in done.stdout
    assert done.stdout.count("Usage:") == 1 + len(names)
