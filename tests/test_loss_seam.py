"""Into whatever a batch is cut, on one process or two: the loss and gradient of every model are the same."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mmbook import MultimodalModel, Trainer, collate
from mmbook.book.written.gan import Adversarial, Critic, Generator
from mmbook.book.written.pcgrad import PCGrad
from mmbook.book.written.pretrain import ContrastivePretraining, MaskedPretraining
from mmbook.fusion import Aligned, build_fusion
from mmbook.generate import VAE, Condition
from mmbook.heads import Classification, Regression
from mmbook.models import Blended, Features, Modulated, MultiTask, UncertaintyWeights
from mmbook.models.detection import Detection, SetDetection
from mmbook.registry import register
from mmbook.train import Callback
from tests import runs

DIMS, ROWS, WIDTH = {"a": 3, "b": 2}, 7, 6


def rows(labels):
    """Seven samples of unequal length; some lack a modality, and one has but one token of each."""
    g = torch.Generator().manual_seed(1)
    found = []
    for i in range(ROWS):
        row = {"labels": labels[i], "id": i}
        for name, dim in DIMS.items():
            if (i, name) not in ((1, "a"), (4, "b")):
                row[name] = torch.randn(1 + (i * 2) % 3, dim, generator=g)
        found.append(row)
    return found


def labels(*shape, whole=None):
    g = torch.Generator().manual_seed(2)
    if whole:
        return torch.randint(0, whole, (ROWS, *shape), generator=g)
    return torch.randn(ROWS, *shape, generator=g)


def model(head, fusion="concat", aligned=None):
    joined = build_fusion(fusion, dict(DIMS), WIDTH)
    if aligned:
        joined = Aligned(joined, width=4, weight=1.0, loss=aligned)
    return MultimodalModel({name: Features(dim) for name, dim in DIMS.items()}, joined, head)


def sparse():
    """Two classes and a number, each known in some rows only: of the second part of a batch, none."""
    found = torch.stack([labels(whole=2).float(), labels(), labels()], dim=1)
    found[2:, 1] = float("nan")
    found[::2, 2] = float("nan")
    return found


def boxes():
    found = torch.rand(ROWS, 2, 5, generator=torch.Generator().manual_seed(3))
    found[..., 0] = labels(2, whole=3)
    found[1::2, 1] = torch.tensor([-1.0, 0.5, 0.5, 0.1, 0.1])  # padding
    return found


def tasks(weighting=None, aligned=None, count=3):
    heads = {"kind": Classification(WIDTH, 2), "first": Regression(WIDTH), "second": Regression(WIDTH)}
    return model(MultiTask(dict(list(heads.items())[:count]), weighting), aligned=aligned)


@register
class Sure(nn.Module):
    """A VAE's encoder without doubt, so that no draw decides."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(3 + 2, 4)

    def forward(self, x, c):
        mean = self.net(torch.cat([x, c], dim=1))
        return torch.cat([mean, torch.full_like(mean, -30.0)], dim=1)


@register
class Joined(nn.Module):
    """What is given, without the noise; or a sample and what is given."""

    def __init__(self, dim, out_dim, noise=False):
        super().__init__()
        self.net, self.out_dim, self.noise = nn.Linear(dim, out_dim), out_dim, noise

    def forward(self, z, c):
        return self.net(torch.cat([0 * z if self.noise else z, c], dim=1))


class Plain(nn.Module):
    """Somebody's own model, that says nothing of counts."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(2, 2)

    def forward(self, b, b_mask, labels, a=None, a_mask=None, ids=None):
        logits = self.net((b * b_mask[..., None]).sum(dim=1))
        return runs.MultimodalOutput(loss=nn.functional.cross_entropy(logits, labels), logits=logits)


def single(name):
    """One token a sample, as generators draw: a row without one lacks it."""
    return [{**row, **({name: row[name][:1]} if name in row else {})} for row in rows(labels(whole=2))]


def scarce():
    """The target in one row of the first part alone."""
    return [{k: v for k, v in row.items() if k != "a" or i == 0} for i, row in enumerate(single("a"))]


def vae():
    given = Condition({"b": 2}, 2)
    return VAE(Sure(), Joined(4 + 2, 3), 4, "a", given)


def gan():
    critic = Critic(Joined(3, 5), Condition({"b": 2}, 5))
    return Adversarial(Generator(Joined(4 + 2, 3, noise=True), 4, Condition({"b": 2}, 2)), critic, "a")


CLASSES = labels(whole=2)
MODELS = {
    "classification": (lambda: model(Classification(WIDTH, 2), "attention"), CLASSES),
    "regression": (lambda: model(Regression(WIDTH, 2), "cross_attention"), labels(2)),
    "detection": (lambda: model(Detection(WIDTH, 3)), boxes()[:, 0].abs()),
    "set detection": (lambda: model(SetDetection(WIDTH, 3, queries=3)), boxes()),
    "tasks": (tasks, sparse()),
    "tasks, uncertainty": (lambda: tasks(UncertaintyWeights(["kind", "first", "second"])), sparse()),
    "aligned": (lambda: model(Classification(WIDTH, 2), aligned="info_nce"), CLASSES),
    "aligned, sigmoid": (lambda: model(Regression(WIDTH), aligned="sigmoid"), labels()),
    "aligned tasks": (lambda: tasks(aligned="info_nce"), sparse()),
    "blended": (lambda: Blended(model(Classification(WIDTH, 2), aligned="info_nce")), CLASSES),
    "modulated": (lambda: Modulated(model(Classification(WIDTH, 2)), noise=False), CLASSES),
    "modulated, aligned": (
        lambda: Modulated(model(Classification(WIDTH, 2), aligned="info_nce"), noise=False),
        CLASSES,
    ),
    # of three tasks the order is drawn at random
    "gradient surgery": (lambda: PCGrad(tasks(count=2)), sparse()[:, :2]),
    "gradient surgery, aligned": (lambda: PCGrad(tasks(aligned="sigmoid", count=2)), sparse()[:, :2]),
    "masked pretraining": (lambda: MaskedPretraining("a", Features(3), 3, share=0.9), CLASSES),
    "contrastive": (
        lambda: ContrastivePretraining({name: Features(dim) for name, dim in DIMS.items()}, 4),
        CLASSES,
    ),
    "VAE": (vae, single("a")),
    "VAE, one target": (vae, scarce()),
    "GAN": (gan, single("a")),
    "somebody's own": (Plain, CLASSES),
}


def made(name):
    """The model, and the rows of one step."""
    make, given = MODELS[name]
    torch.manual_seed(0)
    data = given if isinstance(given, list) else rows(given)
    if name == "masked pretraining":
        data = [{k: v for k, v in row.items() if k != "b"} for row in data]
    return make().train(), data


class Stop(Exception):
    pass


class AfterOne(Callback):
    def on_step(self, trainer, values):
        raise Stop


def step(name, accumulate):
    """Loss and gradient of the trainer's first step."""
    net, data = made(name)
    options = {"epochs": 1, "batch_size": ROWS, "lr": 0.1, "seed": 0, "optimizer": "sgd", "clip": None}
    options |= {"weight_decay": 0.0, "schedule": "constant", "warmup": 0.0}
    trainer = Trainer(
        net, data, callbacks=[AfterOne()], accumulate=accumulate, device="cpu", progress=False, **options
    )
    caught = {}

    def catch(optimizer, *_):
        own = {id(p) for group in optimizer.param_groups for p in group["params"]}
        there = {n: p for n, p in net.named_parameters() if id(p) in own and p.grad is not None}
        caught.update({n: p.grad.clone() for n, p in there.items()})

    for optimizer in trainer.optimizers.values():
        optimizer.register_step_pre_hook(catch)
    with contextlib.suppress(Stop):
        trainer.fit()
    return caught | {"loss": torch.tensor(trainer.curve.loss.iloc[0])}


def by_hand(name):
    """The same of one forward pass over the whole batch, in a plain loop."""
    net, data = made(name)
    batch, found, total = collate(data), {}, 0.0
    for turn, part in getattr(net, "turns", {"": net}).items():
        net.zero_grad()
        loss = net(**batch, **({"turn": turn} if turn else {})).loss
        loss.backward()
        own = {id(p) for p in part.parameters()}
        found |= {n: p.grad.clone() for n, p in net.named_parameters() if id(p) in own and p.grad is not None}
        total += loss.item()
        with torch.no_grad():  # the other's turn meets this side as the step has left it
            for p in part.parameters() if turn else ():
                p -= 0.1 * p.grad
    return found | {"loss": torch.tensor(total)}


def assert_same(found, expected):
    """A gradient that is not there, and one of zeros, are the same."""
    for key in found.keys() | expected.keys():
        ours, theirs = found.get(key), expected.get(key)
        ours = torch.zeros_like(theirs) if ours is None else ours
        theirs = torch.zeros_like(ours) if theirs is None else theirs
        difference = (ours - theirs).abs().max() / theirs.abs().max().clamp(min=0.1)
        assert difference < 2e-5, f"{key} is {ours}; of the whole batch it is {theirs}"


@pytest.mark.parametrize("accumulate", [1, 2, 4])
@pytest.mark.parametrize("name", MODELS)
def test_parts_give_the_loss_and_gradient_of_the_whole(name, accumulate):
    assert_same(step(name, accumulate), by_hand(name))


def every_step(folder: str) -> None:
    """All models, whole and in parts, on this process of several."""
    torch.set_num_threads(1)
    found = {}
    for name in MODELS:
        for accumulate in (1, 2, 4):
            for key, value in step(name, accumulate).items():
                found[f"{name}/{accumulate}/{key}"] = value.contiguous()
    if torch.distributed.get_rank() == 0:
        save_file(found, Path(folder) / "found.safetensors")
    torch.distributed.barrier()


def test_two_processes_give_the_loss_and_gradient_of_one(tmp_path):
    runs.finish(runs.start("every step", tmp_path, {}, world=2)[0])
    every = load_file(tmp_path / "found.safetensors")
    for name in MODELS:
        expected = by_hand(name)
        for accumulate in (1, 2, 4):
            start = f"{name}/{accumulate}/"
            found = {key[len(start) :]: value for key, value in every.items() if key.startswith(start)}
            try:
                assert_same(found, expected)
            except AssertionError as error:
                raise AssertionError(f"{name}, {accumulate} parts, two processes: {error}") from None
