"""A model in shards (FSDP) is trained, averaged, kept and taken up again as one that each process holds."""

import time

import torch
from safetensors.torch import load_file

from mmbook import MultimodalModel
from mmbook.app.train import whole_model
from mmbook.models import fusion_on_features
from mmbook.train.accelerator import is_sharded
from tests import runs

OPTIONS = {"dropout": 0.0, "norm": False, "ema": 0.9, "schedule": "constant"}


def test_shards_are_the_same_training_and_go_on_after_a_kill(tmp_path):
    found = {}
    for kind in ("net", "sharded"):
        folder = tmp_path / kind
        folder.mkdir()
        options = OPTIONS | {"output_dir": str(folder / "run"), "save_every": 3}
        if kind == "sharded":  # the first time it is broken off
            processes, steps = runs.start(kind, folder, options, 2, pause=0.05)
            until = time.monotonic() + 120
            while steps.value < 2 * 5 and time.monotonic() < until:
                time.sleep(0.01)
            runs.kill(processes)
            assert list((folder / "run").glob("checkpoint-*"))
            options["resume"] = True
        runs.finish(runs.start(kind, folder, options, 2)[0])
        found[kind] = runs.final(folder)
        found[kind] |= load_file(folder / "run" / "best.safetensors")
    whole, shards = found.values()
    assert whole.keys() == shards.keys()
    for name in whole:
        torch.testing.assert_close(whole[name], shards[name], rtol=1e-5, atol=1e-6)


def _save_from_shards(folder: str) -> None:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    torch.manual_seed(0)
    model = fusion_on_features({"a": 4}, "attention", num_classes=2)
    torch.distributed.fsdp.fully_shard(model)
    assert all(is_sharded(p) for p in model.parameters())
    whole_model(model).save_pretrained(folder)
    torch.distributed.destroy_process_group()


def test_a_sharded_model_is_saved_whole(tmp_path):
    process = runs.FORKS.Process(target=_save_from_shards, args=(str(tmp_path),))
    process.start()
    runs.finish([process])
    torch.manual_seed(0)
    expected = fusion_on_features({"a": 4}, "attention", num_classes=2).state_dict()
    found = MultimodalModel.from_pretrained(tmp_path).state_dict()
    assert whole_model(model := MultimodalModel.from_pretrained(tmp_path)) is model
    torch.testing.assert_close(dict(found), dict(expected), rtol=0, atol=0)
