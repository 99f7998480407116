"""The parts keep the contracts of `mmbook.protocols`: names, arguments and shapes."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn

from mmbook import Modality, preprocess
from mmbook.encoders import (
    ENCODERS,
    Flattened,
    Frozen,
    Pooled,
    Projected,
)
from mmbook.fusion import FUSIONS, Aligned, Missing, build_fusion
from mmbook.heads import Classification, Regression
from mmbook.models import FixedWeights, MultiTask
from mmbook.models.detection import Detection, SetDetection
from mmbook.protocols import Encoder, Fusion, Head, Processor
from tests.test_encoders import batch, small

DIMS = {"text": 6, "image": 5}
WRAPPERS = {
    "flattened": lambda inner: Flattened(Pooled(inner), 1),
    "frozen": lambda inner: Frozen(inner),
    "pooled": lambda inner: Pooled(inner),
    "projected": lambda inner: Projected(inner, 4),
}
HEADS = {
    "classification": (Classification(8, 3), torch.tensor([0, 2])),
    "regression": (Regression(8), torch.tensor([0.5, 1.0])),
    "detection": (Detection(8, 3), torch.tensor([[0, 0.5, 0.5, 0.1, 0.1]] * 2)),
    "set": (SetDetection(8, 3, queries=4), torch.tensor([[[0, 0.5, 0.5, 0.1, 0.1]]] * 2)),
    "tasks": (
        MultiTask({"a": Classification(8, 2), "b": Regression(8)}, FixedWeights({"a": 1.0, "b": 1.0})),
        torch.tensor([[0, 0.5], [1, 0.1]]),
    ),
}


def parameters(cls: type) -> list[inspect.Parameter]:
    """The arguments of a class's call, without self; those of a module's `forward`."""
    call = cls.forward if issubclass(cls, nn.Module) else cls.__call__
    return list(inspect.signature(call).parameters.values())[1:]


def accepts(cls: type, protocol: type) -> bool:
    """Whether each call that the protocol allows is one of the class: as many arguments, no more needed."""
    wanted, found = parameters(protocol), parameters(cls)
    needed = [p for p in found if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    optional = [p.name for p in wanted if p.default is not p.empty]
    return len(needed) <= len(wanted) - len(optional) and set(optional) <= {p.name for p in found}


@pytest.mark.parametrize("name", [*ENCODERS, *WRAPPERS])
def test_encoders(name: str) -> None:
    """Also those around another; what comes out is as wide as they say."""
    encoder = WRAPPERS[name](small("small_cnn")) if name in WRAPPERS else small(name)
    assert isinstance(encoder, Encoder) and accepts(type(encoder), Encoder)
    found = encoder.eval()(batch(encoder.reads))
    assert found.values.shape == (*found.mask.shape, encoder.out_dim)


@pytest.mark.parametrize("name", [*FUSIONS, "missing", "aligned"])
def test_fusions(name: str) -> None:
    """With and without weights, which is the one place where a fusion gives a pair."""
    inner = build_fusion("mean" if name in ("missing", "aligned") else name, DIMS, 8)
    fusion = {"missing": Missing, "aligned": Aligned}.get(name, lambda made: made)(inner)
    assert isinstance(fusion, Fusion) and accepts(type(fusion), Fusion)
    inputs = {m: Modality(torch.randn(3, 2, d), torch.ones(3, 2, dtype=torch.bool)) for m, d in DIMS.items()}
    fused, (again, weights) = fusion.eval()(inputs), fusion(inputs, return_weights=True)
    assert dict(fusion.dims) == DIMS and fused.shape == again.shape == (3, fusion.out_dim)
    assert set(weights) <= set(DIMS) and all(weight.shape == (3, 2) for weight in weights.values())


@pytest.mark.parametrize("name", HEADS)
def test_heads(name: str) -> None:
    """An answer without labels, the same answer and a loss with them."""
    head, labels = HEADS[name]
    assert isinstance(head, Head) and accepts(type(head), Head)
    fused = torch.randn(2, 8)
    silent, told = head.eval()(fused), head(fused, labels)
    assert silent.loss is None and told.loss is not None
    torch.testing.assert_close(silent.logits, told.logits)


@pytest.mark.parametrize("name", [name for name in preprocess.__all__ if name.endswith("Processor")])
def test_processors(name: str) -> None:
    assert accepts(getattr(preprocess, name), Processor)


def test_a_processor_brings_its_config() -> None:
    processor = preprocess.ImageProcessor(size=8)
    assert isinstance(processor, Processor) and processor.config["type"] == "ImageProcessor"
    assert processor(torch.rand(3, 9, 9)).shape == (1, 3, 8, 8)


@pytest.mark.parametrize("protocol", [Encoder, Fusion, Head, Processor])
def test_what_lacks_a_part_is_none_of_them(protocol: type) -> None:
    """A layer of torch has a call, but no width of ours; a plain object has not even that."""
    assert not isinstance(object(), protocol)
    assert protocol is Head or not isinstance(nn.Linear(2, 2), protocol)
