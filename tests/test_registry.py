"""Registered objects are rebuilt from JSON."""

import json

import pytest
from torch import nn

from mmbook.fusion import FUSIONS
from mmbook.registry import build, register


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
    with pytest.raises(ValueError, match="two classes"):
        register(TakesAnything)
