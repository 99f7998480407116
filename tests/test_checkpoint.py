"""A checkpoint is whole or it is not there: after a kill in the middle of it, and on a full disk."""

import os
import resource
import signal
from pathlib import Path

import pytest
import torch

from mmbook import Trainer
from mmbook.train.checkpoint import Checkpoints, Progress
from tests import runs

OPTIONS = {"epochs": 3, "batch_size": 16, "lr": 0.02, "seed": 3, "device": "cpu", "progress": False}


def trainer(folder, **changes):
    torch.manual_seed(0)
    return Trainer(
        runs.Net(), runs.Rows(58, 0), runs.Rows(23, 1), **(OPTIONS | {"output_dir": folder} | changes)
    )


def killed_at(moment: str, folder: str) -> None:
    """A run that kills itself at its third checkpoint: before, in the midst of, or after a stage of it."""
    count = 0

    def bomb(stage):
        def explode(*args, **kwargs):
            nonlocal count
            count += 1
            if count == 3:
                if moment.startswith("half"):
                    args[0].joinpath("progress.json").write_text("{", encoding="utf-8")
                os.kill(os.getpid(), signal.SIGKILL)
            return stage(*args, **kwargs)

        return explode

    targets = {
        "before anything": ("mmbook.train.checkpoint.shutil.rmtree", 0),
        "weights written": ("mmbook.train.checkpoint.save_file", 0),
        "half a file": ("mmbook.train.checkpoint._to_disk", 0),
    }
    where = targets[moment][0]
    module, _, name = where.rpartition(".")
    owner = runs.resolve(module)
    setattr(owner, name, bomb(getattr(owner, name)))
    trainer(folder, save_every=2).fit()


@pytest.mark.parametrize("moment", ["before anything", "weights written", "half a file"])
def test_a_kill_in_a_checkpoint_leaves_the_one_before(moment, tmp_path):
    process = runs.FORKS.Process(target=killed_at, args=(moment, str(tmp_path / "run")))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    whole = trainer(tmp_path / "whole")
    whole.fit()
    going_on = trainer(tmp_path / "run", save_every=2, resume=True)
    going_on.fit()
    assert (going_on.curve == whole.curve).all(axis=None)
    for p, q in zip(whole.model.parameters(), going_on.model.parameters(), strict=True):
        assert torch.equal(p, q)
    assert not list((tmp_path / "run").glob(".*.part")), "what the kill left is cleared away"


def full_disk(folder: str) -> None:
    """A run that may write no file larger than 2 KB from its second epoch on: as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    run = trainer(folder)
    save = Checkpoints.save

    def limited(self, progress: Progress) -> Path:
        if progress.epoch == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        return save(self, progress)

    Checkpoints.save = limited
    try:
        run.fit()
    except OSError as error:
        text = str(error)
        assert "checkpoint-00000008 could not be written" in text and "resume=True" in text
        assert "checkpoint-00000004 is whole" in text, text
        os._exit(7)


def test_a_full_disk_stops_with_the_good_checkpoint_named(tmp_path):
    process = runs.FORKS.Process(target=full_disk, args=(str(tmp_path / "run"),))
    process.start()
    process.join(120)
    assert process.exitcode == 7
    whole = trainer(tmp_path / "whole")
    whole.fit()
    going_on = trainer(tmp_path / "run", resume=True)
    going_on.fit()
    assert going_on.history.drop(columns="samples_per_second").equals(
        whole.history.drop(columns="samples_per_second")
    )


def test_the_newest_stay_and_the_best(tmp_path):
    run = trainer(tmp_path, epochs=6, keep=2, keep_best=2, save_every=1)
    history = run.fit()
    names = sorted(path.name for path in tmp_path.glob("checkpoint-*"))
    assert names == ["checkpoint-00000023", "checkpoint-00000024"]
    best = history.nsmallest(2, "valid_loss").epoch
    assert {path.stem for path in tmp_path.glob("epoch-*")} == {f"epoch-{epoch:05d}" for epoch in best}
    assert run.evaluate(run.valid_set)["loss"] == pytest.approx(history.valid_loss.min(), rel=1e-6)


def test_a_folder_with_a_run_is_not_overwritten_by_chance(tmp_path):
    trainer(tmp_path).fit()
    with pytest.raises(ValueError, match="holds checkpoint-00000012.*resume=True"):
        trainer(tmp_path).fit()
    with pytest.raises(ValueError, match="lr=0.02.*now it is 0.5"):
        trainer(tmp_path, resume=True, lr=0.5).fit()
    assert len(trainer(tmp_path, resume=True).fit()) == 3, "a finished run has nothing to do but to remember"
