"""The memory of a training step: exact where it can be, and near what the profiler sees elsewhere."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmbook import MultimodalModel, Trainer, collate
from mmbook.book.written.lora import add_lora
from mmbook.book.written.memory import largest_batch, predict_memory, storage_bytes
from mmbook.data import from_arrays
from mmbook.encoders import Bert, ResNet, Wav2Vec2
from mmbook.fusion import build_fusion
from mmbook.heads import Classification
from mmbook.models import fusion_on_features
from mmbook.train import build_optimizer
from mmbook.train.average import RunningAverage
from mmbook.train.batches import parts_of


class Stack(nn.Module):
    """Linear and ReLU layers over ``x``, and the mean of what comes out as the loss."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        layers = (part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU()))
        self.net = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> SimpleNamespace:
        return SimpleNamespace(loss=self.net(x).mean())


def classifier(encoder: nn.Module, name: str) -> MultimodalModel:
    """One encoder under a head."""
    fusion = build_fusion("concat", {name: encoder.out_dim}, 64)
    return MultimodalModel({name: encoder}, fusion, Classification(64, 3))


def fusion_model(batch_size: int) -> tuple[nn.Module, dict[str, Tensor]]:
    dims = {"text": 384, "image": 512, "audio": 64}
    model = fusion_on_features(dims, "self_attention", num_classes=3)
    batch = {name: torch.randn(batch_size, 12, dim) for name, dim in dims.items()}
    return model, batch | {"labels": torch.arange(batch_size) % 3}


def resnet(batch_size: int) -> tuple[nn.Module, dict[str, Tensor]]:
    model = classifier(ResNet((1, 1, 1), widths=(16, 32, 64), stem=16), "image")
    mask = torch.ones(batch_size, 1, dtype=torch.bool)
    mask[0] = False  # a sample without a picture takes no part in the network
    images = torch.randn(batch_size, 1, 3, 64, 64)
    return model, {"image": images, "image_mask": mask, "labels": torch.arange(batch_size) % 3}


def transformer(batch_size: int) -> tuple[nn.Module, dict[str, Tensor]]:
    model = classifier(Bert(vocab_size=500, width=64, layers=3, heads=4, hidden=256), "text")
    return model, {
        "text": torch.randint(1, 500, (batch_size, 48)),
        "text_mask": torch.arange(48) < torch.randint(8, 49, (batch_size, 1)),
        "labels": torch.arange(batch_size) % 3,
    }


def speech(batch_size: int) -> tuple[nn.Module, dict[str, Tensor]]:
    encoder = Wav2Vec2(channels=(32,) * 7, width=64, layers=2, heads=4, hidden=128, position_kernel=16)
    batch = {"audio": torch.randn(batch_size, 8000), "labels": torch.arange(batch_size) % 3}
    return classifier(encoder, "audio"), batch


MODELS = {"fusion": fusion_model, "resnet": resnet, "transformer": transformer, "speech": speech}


def measured(model, batch, optimizer="adamw", precision="no", accumulate=1, ema=False) -> int:
    """The peak of a real step on the CPU: what lies there before, and the profiler's record on top of it."""
    low = {"no": None, "bf16": torch.bfloat16}[precision]
    stepper = build_optimizer(model.parameters(), optimizer, 1e-4, 0.0)
    average = RunningAverage(model, 0.99) if ema else None

    def step() -> None:
        stepper.zero_grad()
        for part, _ in parts_of(batch, accumulate):
            with torch.autocast("cpu", low, enabled=low is not None):
                loss = model(**part).loss
            loss.backward()
            del loss
        stepper.step()
        if average is not None:
            average.update()

    model.train()
    step()  # makes the optimiser's state
    stepper.zero_grad()
    there = [*model.parameters(), *model.buffers(), *batch.values(), *states(stepper)]
    before = storage_bytes([*there, *(average.average if average else [])])
    return before + most_held(step)


def most_held(step) -> int:
    """The highest running total of what `step` allocates and releases, from the profiler's record."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True, acc_events=True) as record:
        step()
    changes = [e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = most = 0
    for change in sorted(changes, key=lambda event: event.start_ns()):
        held += change.nbytes()
        most = max(most, held)
    return most


def states(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [v for state in optimizer.state.values() for v in state.values() if isinstance(v, Tensor)]


@pytest.mark.parametrize(("optimizer", "frozen"), [("sgd", False), ("adam", True), ("adamw", False)])
def test_parameters_gradients_and_state_are_exact(optimizer, frozen):
    """Tensor by tensor what a real step leaves behind; frozen weights have neither gradient nor state."""
    model, batch = resnet(4)
    if frozen:
        model.encoders.requires_grad_(False)
    found = predict_memory(model, batch, optimizer=optimizer, ema=True)
    stepper = build_optimizer(model.parameters(), optimizer, 1e-4, 0.0)
    model(**batch).loss.backward()
    stepper.step()
    assert found.parameters == sum(p.numel() * 4 for p in model.parameters())
    assert found.buffers == sum(b.numel() * b.element_size() for b in model.buffers())
    assert found.gradients == sum(p.grad.numel() * 4 for p in model.parameters() if p.grad is not None)
    assert found.optimizer == sum(v.numel() * v.element_size() for v in states(stepper))
    average = RunningAverage(model, 0.99).average
    assert found.average == sum(a.numel() * 4 for a in average)
    assert found.batch == sum(v.numel() * v.element_size() for v in batch.values())


def test_tied_weights_count_once():
    model = Stack(8, 8, 8)
    model.net[2].weight = model.net[0].weight
    assert predict_memory(model, {"x": torch.randn(2, 8)}).parameters == 4 * (64 + 8 + 8)


def test_activations_by_pencil_and_paper():
    """A linear layer keeps its input, a ReLU its output, which is the next layer's input: the same tensor."""
    B, widths = 32, (20, 50, 70, 10)
    found = predict_memory(Stack(*widths), {"x": torch.randn(B, widths[0])}, optimizer="sgd")
    assert found.activations == 4 * B * (50 + 70 + 10)  # the input is the batch's own


def test_peak_by_pencil_and_paper():
    """One layer on a wide input: in the backward pass the output, two gradients of it, then the weights'."""
    B, a, b = 8, 1000, 10
    found = predict_memory(Stack(a, b), {"x": torch.randn(B, a)}, optimizer="sgd")
    fixed = found.parameters + found.optimizer + found.batch
    assert found.optimizer == found.parameters == found.gradients == 4 * (a * b + b)
    assert 0 <= found.peak - fixed - found.gradients <= 4 * (2 * B * b + b) + 16  # and the loss


@pytest.mark.parametrize(
    ("name", "device"), [("fusion", "cuda"), ("resnet", "cpu"), ("transformer", "cuda"), ("speech", "cuda")]
)
def test_activations_are_linear_in_the_batch(name, device):
    torch.manual_seed(0)
    model, batch = MODELS[name](4)
    batch.pop("image_mask", None), batch.pop("text_mask", None)
    # of some kinds autograd keeps a few numbers more where the batch is one sample: begin with two
    kept = {}
    for n in (2, 4, 12):
        many = {key: torch.cat([value] * 3)[:n] for key, value in batch.items()}
        kept[n] = predict_memory(model, many, device=device).activations
    assert (kept[12] - kept[4]) / 8 == pytest.approx((kept[4] - kept[2]) / 2, rel=1e-3)
    assert kept[4] > kept[2]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in MODELS),
        ("fusion", {"precision": "bf16"}),
        ("resnet", {"accumulate": 4}),
        ("speech", {"optimizer": "sgd"}),
        ("transformer", {"ema": True, "optimizer": "adam", "accumulate": 2}),
    ],
    ids=str,
)
def test_peak_is_what_the_profiler_measures(name, options):
    """Within a tenth. On the CPU, where no library keeps a workspace of unknown size outside."""
    torch.manual_seed(0)
    model, batch = MODELS[name](32)
    found = predict_memory(model, batch, device="cpu", **options).peak
    assert found == pytest.approx(measured(model, batch, **options), rel=0.1)


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"ema": 0.9, "optimizer": "sgd"}], ids=str)
def test_peak_is_that_of_the_trainer(options):
    """Over a whole run of `mmbook.Trainer`, which makes batches, clips, and keeps its journal as well."""
    torch.manual_seed(0)
    dims = {"text": 64, "image": 128}
    arrays = {name: torch.randn(128, 16, dim).numpy() for name, dim in dims.items()}
    data = from_arrays(arrays, (torch.arange(128) % 2).numpy())
    model = fusion_on_features(dims, "self_attention", num_classes=2)
    batch = collate([data[i] for i in range(32)])
    told = options | {"ema": "ema" in options}
    found = predict_memory(model, batch, device="cpu", **told).peak
    there = storage_bytes([*model.parameters(), *model.buffers()])
    trainer = Trainer(model, data, epochs=1, batch_size=32, lr=1e-3, seed=0, device="cpu", **options)
    assert found == pytest.approx(there + most_held(trainer.fit), rel=0.05)


def test_what_saves_memory_does():
    model, batch = transformer(32)
    plain = predict_memory(model, batch)
    parts = predict_memory(model, batch, accumulate=4)
    low = predict_memory(model, batch, precision="bf16")
    assert plain.activations / 4.5 < parts.activations < plain.activations / 3.5
    assert parts.gradients == plain.gradients and parts.batch == plain.batch
    assert low.parameters == plain.parameters and low.activations < plain.activations
    add_lora(model.encoders["text"], rank=2)
    changed = predict_memory(model, batch)
    assert changed.optimizer < 0.2 * plain.optimizer and changed.gradients < 0.2 * plain.gradients
    model.encoders.requires_grad_(False)
    assert predict_memory(model, batch).activations < 0.05 * plain.activations


def test_attention_on_a_gpu_keeps_no_weights():
    """The (T, T) weights of each head are what the CPU keeps, and the GPU does not."""
    model, _ = transformer(2)
    labels = torch.tensor([0, 1])
    kept = {}
    for device in ("cpu", "cuda"):
        for T in (128, 256):
            batch = {"text": torch.ones(2, T, dtype=torch.long), "labels": labels}
            kept[device, T] = predict_memory(model, batch, device=device).activations
    assert kept["cuda", 256] < 2.05 * kept["cuda", 128]
    assert kept["cpu", 256] > 2.5 * kept["cpu", 128]


def test_nothing_is_changed():
    model, batch = resnet(4)
    model.train()
    model.encoders.eval()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    draws = torch.get_rng_state()
    predict_memory(model, batch)
    assert torch.equal(draws, torch.get_rng_state())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert model.training and not model.encoders["image"].training
    assert all(p.grad is None for p in model.parameters())


def test_a_model_without_numbers():
    """A model on "meta" has no memory of its own, and the same prediction."""
    model, batch = transformer(4)
    with torch.device("meta"):
        empty, _ = transformer(4)
    assert predict_memory(empty, batch) == predict_memory(model, batch)


def test_masks_decide_as_in_a_real_step():
    """Pictures that are missing do not enter the network, and so take no memory in it."""
    model, batch = resnet(8)
    half = batch | {"image_mask": (torch.arange(8) < 4)[:, None]}
    whole = batch | {"image_mask": torch.ones(8, 1, dtype=torch.bool)}
    share = predict_memory(model, half).activations / predict_memory(model, whole).activations
    assert share == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("name", ["fusion", "transformer"])
def test_largest_batch(name):
    model, batch = MODELS[name](4)
    batch.pop("text_mask", None)
    fixed = predict_memory(model, batch)
    budget = fixed.parameters + fixed.optimizer + fixed.gradients + 20 * fixed.activations
    found = largest_batch(model, batch, budget)
    assert found > 4

    def peak(count):
        return predict_memory(model, {k: torch.cat([v] * count)[:count] for k, v in batch.items()}).peak

    assert peak(found) <= budget < peak(found + 1)


def test_no_batch_fits():
    model, batch = transformer(2)
    assert largest_batch(model, batch, storage_bytes(model.parameters())) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"optimizer": "lion"}, "'lion'.*sgd, adam, adamw"),
        ({"precision": "int8"}, "'int8'.*no, bf16, fp16"),
        ({"device": "tpu"}, "'tpu'.*cuda, cpu"),
    ],
)
def test_what_is_not_known_is_named(options, words):
    with pytest.raises(ValueError, match=words):
        predict_memory(Stack(2, 2), {"x": torch.ones(1, 2)}, **options)


def test_nothing_to_train():
    with pytest.raises(ValueError, match="requires_grad"):
        predict_memory(Stack(2, 2).requires_grad_(False), {"x": torch.ones(1, 2)})


def test_a_branch_on_numbers_that_are_not_there():
    class Branches(Stack):
        def forward(self, x):
            return super().forward(F.relu(x) if x.sum() > 0 else x)

    with pytest.raises(ValueError, match="branches on values"):
        predict_memory(Branches(2, 2), {"x": torch.ones(1, 2)})
