"""The contract's tests can fail: each catches a mistake of published fusion code, put in on purpose."""

import pytest
import torch
from torch import nn

from mmbook.fusion import FUSIONS
from mmbook.fusion.attention import masked_softmax
from mmbook.fusion.inputs import complete
from mmbook.modality import Modality
from tests import test_fusion_compile
from tests import test_fusion_contract as contract


class Honest(nn.Module):
    """Attention over the tokens of each modality, then a concatenation. Mutants change one method each."""

    def __init__(self, dims, out_dim):
        super().__init__()
        self.dims, self.out_dim = dict(dims), out_dim
        self.score = nn.ModuleDict({name: nn.Linear(dim, 1, bias=False) for name, dim in dims.items()})
        self.linear = nn.Linear(sum(dims.values()), out_dim)
        self.more()

    def more(self):
        pass

    def inputs(self, inputs):
        return complete(inputs, self.dims)

    def weigh(self, name, modality):
        return masked_softmax(self.score[name](modality.values).squeeze(-1), modality.mask)

    def pool(self, beta, modality):
        return torch.einsum("bt,btd->bd", beta, modality.values.to(beta.dtype))

    def last(self, x):
        return self.linear(x)

    def forward(self, inputs, return_weights=False):
        inputs = self.inputs(inputs)
        betas = {name: self.weigh(name, m) for name, m in inputs.items()}
        fused = self.last(torch.cat([self.pool(betas[n], m) for n, m in inputs.items()], dim=-1))
        count = sum(m.mask.any(dim=1) for m in inputs.values()).clamp(min=1)
        return (fused, {n: b / count[:, None] for n, b in betas.items()}) if return_weights else fused


class FactorsInAPlainList(Honest):
    def more(self):
        self.factors = [nn.Parameter(torch.randn(self.out_dim)) for _ in range(2)]

    def last(self, x):
        return self.linear(x) * self.factors[0] * self.factors[1]


class PaddingAttendedTo(Honest):
    def weigh(self, name, modality):
        return self.score[name](modality.values).squeeze(-1).softmax(dim=-1)


class LastStep(Honest):
    def pool(self, beta, modality):
        return modality.values[:, -1] * (1 + beta.sum(dim=1, keepdim=True))


class OrderOfTheDict(Honest):
    def inputs(self, inputs):
        whole = complete(inputs, self.dims)
        return {name: whole[name] for name in [*inputs, *(n for n in whole if n not in inputs)]}


class ParameterWithoutGradient(Honest):
    def more(self):
        self.unused = nn.Linear(3, 3)


class NeedlessKeyBias(Honest):
    def more(self):
        for layer in self.score.values():
            layer.bias = nn.Parameter(torch.ones(1))


class PaddingTimesZero(Honest):
    def inputs(self, inputs):
        return {n: Modality(m.values * m.mask[..., None], m.mask) for n, m in inputs.items()}


class BatchNorm(Honest):
    def last(self, x):
        return (self.linear(x) - self.linear(x).mean(dim=0)) / (1 + self.linear(x).std(dim=0, correction=0))


class SoftmaxOverNothing(Honest):
    def weigh(self, name, modality):
        scores = self.score[name](modality.values).squeeze(-1)
        return scores.masked_fill(~modality.mask, float("-inf")).softmax(dim=-1)


class SkipsTheAbsent(Honest):
    def weigh(self, name, modality):
        if not modality.mask.any():
            return torch.zeros(modality.mask.shape)
        return super().weigh(name, modality)


class WeightsThatCountTheAbsent(Honest):
    def forward(self, inputs, return_weights=False):
        fused, weights = super().forward(inputs, return_weights=True)
        return (fused, {n: w / len(self.dims) for n, w in weights.items()}) if return_weights else fused


class TensorOnTheCPU(Honest):
    def last(self, x):
        return self.linear(x) + torch.arange(self.out_dim, device="cpu")


class DoubleInBf16(Honest):
    def last(self, x):
        y = self.linear(x)
        return 2 * y if y.dtype == torch.bfloat16 else y


class BranchOnTheData(Honest):
    def last(self, x):
        return self.linear(x) if x.sum() > 0 else self.linear(-x)


CAUGHT = {
    FactorsInAPlainList: contract.test_the_saved_state_is_the_whole_fusion,
    PaddingAttendedTo: contract.test_adding_padding_changes_nothing,
    LastStep: contract.test_adding_padding_changes_nothing,
    OrderOfTheDict: contract.test_order_of_the_dict_does_not_matter,
    ParameterWithoutGradient: contract.test_every_parameter_is_saved_and_gets_a_gradient,
    NeedlessKeyBias: contract.test_every_parameter_is_saved_and_gets_a_gradient,
    PaddingTimesZero: lambda name: contract.test_values_under_the_mask_are_never_read(name, float("nan")),
    BatchNorm: contract.test_a_row_does_not_depend_on_the_others,
    SoftmaxOverNothing: contract.test_a_row_with_nothing_at_all_is_finite,
    SkipsTheAbsent: contract.test_an_absent_modality_still_touches_its_parameters,
    WeightsThatCountTheAbsent: contract.test_weights_sum_to_one_over_what_is_present,
    TensorOnTheCPU: contract.test_device_move,
    DoubleInBf16: contract.test_bf16_autocast,
    BranchOnTheData: test_fusion_compile.compiles,
}


@pytest.fixture
def listed(monkeypatch):
    """List a class for one test as if it were a fusion of the package; it is never registered."""

    def put(cls):
        monkeypatch.setitem(FUSIONS, "mutant", cls)
        monkeypatch.setitem(contract.VARIANTS, "mutant", ("mutant", {}))

    return put


@pytest.mark.parametrize("mutant", CAUGHT, ids=lambda cls: cls.__name__)
def test_the_contract_catches(mutant, listed):
    listed(mutant)
    # device and compilation fail by torch's own error, as they would in use
    with pytest.raises((AssertionError, RuntimeError)):
        CAUGHT[mutant]("mutant")


@pytest.mark.parametrize("check", dict.fromkeys(CAUGHT.values()), ids=lambda f: f.__name__)
def test_the_honest_one_passes(check, listed):
    """So what fails above is the mutation, and nothing else about these classes."""
    listed(Honest)
    check("mutant")
