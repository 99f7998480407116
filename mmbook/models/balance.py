"""Against one modality that drowns the others: two ways to train the same model differently.

A model that answers right by its quickest modality has a small loss, and with it small gradients for all the
others, which then stay untrained. Both wrappers change the training only: what you keep is the model inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mmbook.heads import Classification, per_item
from mmbook.modality import Modality, group
from mmbook.models.multimodal import MultimodalModel, MultimodalOutput
from mmbook.registry import build, config_of

JOINT = "joint"


class Blended(nn.Module):
    """Gradient blending: each modality also answers alone, and the losses are added with weights.

    ``w_joint L_joint + sum of w_m L_m``, where ``L_m`` is the loss of a head of its own on the mean token of
    modality m, over the samples that have it. So an encoder gets a gradient even where the others know the
    answer. In evaluation only the joint loss and the joint logits count.

    Args:
        model: trained in place; the additional heads are thrown away afterwards.
        weights: name of a modality, or "joint", -> weight, as `blend_weights` estimates them; None: equal.

    Raises:
        ValueError: weights for other names, or a negative one.

    Source: Wang, Tran and Feiszli (2020), *What Makes Training Multi-Modal Classification Networks Hard?*,
    https://arxiv.org/abs/1905.12681 (offline blending).
    """

    accepts_loss_kwargs = False  # transformers counts labels; see MultimodalModel

    def __init__(self, model: MultimodalModel, weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        names = [*model.encoders, JOINT]
        self.weights = {name: 1 / len(names) for name in names} if weights is None else dict(weights)
        if set(self.weights) != set(names) or min(self.weights.values()) < 0:
            raise ValueError(f"weights are {self.weights}; give one, not negative, for each of {names}")
        self.model = model
        config = config_of(model.head)
        self.heads = nn.ModuleDict(
            {name: build(config | {"dim": encoder.out_dim}) for name, encoder in model.encoders.items()}
        )

    def forward(
        self, labels: Tensor | None = None, num_items_in_batch: int | Tensor | None = None, **batch: Any
    ) -> MultimodalOutput:
        """As `MultimodalModel.forward`."""
        if labels is None or not self.training:
            return self.model(labels=labels, num_items_in_batch=num_items_in_batch, **batch)
        features = self.model.features(batch)
        out = self.model.answer(features, labels, num_items_in_batch)
        assert out.loss is not None  # there are labels
        loss: Tensor = self.weights[JOINT] * out.loss
        items = self.num_items(labels) if num_items_in_batch is None else num_items_in_batch
        for name, modality in features.items():
            there = modality.mask.any(dim=1)
            if there.any():
                alone = self.heads[name](modality.pooled()[there], labels[there]).total
                loss = loss + self.weights[name] * per_item(alone, items)
        return replace(out, loss=loss)

    def num_items(self, labels: Tensor | None = None, **batch: Any) -> int | Tensor:
        """As of the model inside: a modality that half of the rows have counts half."""
        return self.model.num_items(labels)

    @property
    def contrast(self) -> Callable[[Mapping[str, Tensor]], Tensor] | None:
        """Of the model inside, with the weight of the joint loss."""
        inner = self.model.contrast
        return None if inner is None else lambda embeddings: self.weights[JOINT] * inner(embeddings)


def blend_weights(
    before: Mapping[str, tuple[float, float]], after: Mapping[str, tuple[float, float]]
) -> dict[str, float]:
    """Weights for `Blended`: what a loss gains on new data, over the square of what it overfits.

    Train each modality alone, and all of them jointly, for a few epochs. With ``G`` the fall of the
    validation loss and ``O`` the growth of its distance from the training loss, ``w = G / O^2``, divided by
    the sum. A loss that gained nothing gets 0. ``O`` is taken as at least a hundredth of ``G``, or chance
    would decide.

    Args:
        before: name of a modality or "joint" -> (training loss, validation loss) at the start.
        after: the same at the end, both losses with the same weights of the network.

    Raises:
        ValueError: different names, or no loss that gained anything.
    """
    if set(before) != set(after):
        raise ValueError(f"before has {sorted(before)}, after has {sorted(after)}; give the same names")
    weights = {}
    for name, (train, valid) in after.items():
        gained = before[name][1] - valid
        overfit = (valid - train) - (before[name][1] - before[name][0])
        weights[name] = max(gained, 0.0) / max(overfit, abs(gained) / 100, 1e-12) ** 2
    total = sum(weights.values())
    if total == 0:
        raise ValueError("no validation loss fell, so there is nothing to weigh; train longer or otherwise")
    return {name: weight / total for name, weight in weights.items()}


class Modulated(nn.Module):
    """On-the-fly gradient modulation (OGM-GE): the encoder that is ahead is slowed down.

    How far modality m is: the mean probability of the right class when the fusion is given m alone. With
    ``rho_m`` that, divided by the mean over the others, the gradient of encoder m is multiplied by ``1 -
    tanh(alpha rho_m)`` where ``rho_m > 1``, in every step anew. `noise` adds to it normal noise with the
    standard deviation of each gradient (GE, generalisation enhancement); where a batch is worked through in
    parts, to each part's gradient. The factors are those of the whole batch.

    Adam divides a gradient by its recent size, and so undoes most of a slowing that lasts: use
    ``Trainer(..., optimizer="sgd")``, as the paper does.

    Args:
        model: with a `mmbook.heads.Classification` head; trained in place.
        alpha: above 0; larger slows more.
        noise: whether to add the noise.

    Attributes:
        slowed: name -> factor of the last training step.

    Raises:
        ValueError: another head, fewer than two modalities, or an alpha that is not above 0.

    Source: Peng et al. (2022), *Balanced Multimodal Learning via On-the-fly Gradient Modulation*,
    https://arxiv.org/abs/2203.15332, for two modalities and a linear head, where "m alone" is its part of
    the sum.
    """

    accepts_loss_kwargs = False  # transformers counts labels; see MultimodalModel

    def __init__(self, model: MultimodalModel, alpha: float = 0.5, noise: bool = True) -> None:
        super().__init__()
        if not isinstance(model.head, Classification) or len(model.encoders) < 2 or alpha <= 0:
            raise ValueError(
                f"Modulated needs a Classification head (got {type(model.head).__name__}), at least two "
                f"modalities (got {len(model.encoders)}) and an alpha above 0 (got {alpha})"
            )
        self.model, self.alpha, self.noise = model, alpha, noise
        self.slowed = dict.fromkeys(model.encoders, 1.0)

    def forward(
        self, labels: Tensor | None = None, num_items_in_batch: int | Tensor | None = None, **batch: Any
    ) -> MultimodalOutput:
        """As `MultimodalModel.forward`."""
        model = self.model
        if labels is None or not self.training:
            return model(labels=labels, num_items_in_batch=num_items_in_batch, **batch)
        features = {
            name: functional_call(model.encoders[name], self._gated(name), (modality,))
            for name, modality in group(batch, list(model.encoders)).items()
        }
        out = model.answer(features, labels, num_items_in_batch)
        right = self._right(features, labels)
        if num_items_in_batch is None:
            self.slowed = self._factors(right)
        return replace(out, embeddings=right | (out.embeddings or {}))

    def num_items(self, labels: Tensor | None = None, **batch: Any) -> int | Tensor:
        """As of the model inside."""
        return self.model.num_items(labels)

    def contrast(self, embeddings: Mapping[str, Tensor]) -> Tensor:
        """Set the factors by all samples of a batch; the loss between samples is that of the model inside."""
        self.slowed = self._factors(embeddings)
        inner = self.model.contrast
        return torch.zeros(()) if inner is None else inner(embeddings)

    def _gated(self, name: str) -> dict[str, Tensor]:
        """The encoder's parameters, each behind a gate that changes the gradient on its way back."""
        gated = {}
        for key, parameter in self.model.encoders[name].named_parameters():
            if parameter.requires_grad:
                gated[key] = parameter.view_as(parameter)
                gated[key].register_hook(partial(self._change, name))
        return gated

    def _change(self, name: str, gradient: Tensor) -> Tensor:
        changed = gradient * self.slowed[name]
        if self.noise and gradient.numel() > 1:
            changed = changed + torch.randn_like(gradient) * gradient.std()
        return changed

    @torch.no_grad()
    def _right(self, features: Mapping[str, Modality], labels: Tensor) -> dict[str, Tensor]:
        """Of each modality alone the probability of the right class ``(B,)``, and which rows have it."""
        found = {}
        for name, modality in features.items():
            logits = self.model.head(self.model.fusion({name: modality})).logits
            found[f"right_{name}"] = logits.softmax(dim=1).gather(1, labels.long()[:, None])[:, 0]
            found[f"has_{name}"] = modality.mask.any(dim=1)
        return found

    @torch.no_grad()
    def _factors(self, found: Mapping[str, Tensor]) -> dict[str, float]:
        right = {
            name: found[f"right_{name}"][found[f"has_{name}"]].mean().item()
            for name in self.model.encoders
            if f"has_{name}" in found and found[f"has_{name}"].any()
        }
        factors = dict.fromkeys(self.model.encoders, 1.0)
        for name, ours in right.items():
            others = [p for other, p in right.items() if other != name]
            ahead = ours / (sum(others) / len(others)) if others else 1.0
            if ahead > 1:
                factors[name] = 1 - torch.tensor(self.alpha * ahead).tanh().item()
        return factors
