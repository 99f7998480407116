"""A generator as an answer to a missing modality: draw what is absent from what is there.

What is drawn depends on nothing but what is there, so it cannot tell more about the label than that does
(the data-processing inequality). What it can do: hand a model that reads all modalities an input of the kind
it was trained on; and, drawn several times and averaged over the answers, make it answer with the average
over what the absent modality might have been, which is the best answer there is.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mmbook.data.arrays import ArrayDataset, from_arrays
from mmbook.generate.condition import Condition
from mmbook.generate.networks import VectorNet
from mmbook.generate.vae import VAE
from mmbook.modality import Modality


def make_filler(dims: Mapping[str, int], target: str, latent: int = 8, hidden: int = 64) -> VAE:
    """An untrained VAE that draws `target` from whichever of the other modalities are present.

    Args:
        dims: name -> width, of all modalities.
        target: the one that it draws.
        latent, hidden: widths of z, and of the hidden layers and the condition.

    Raises:
        ValueError: a target that is not in `dims`.
    """
    if target not in dims:
        raise ValueError(f"no modality {target!r} here; there are {', '.join(dims)}")
    condition = Condition({name: dim for name, dim in dims.items() if name != target}, hidden)
    encoder = VectorNet(dims[target], 2 * latent, condition.width, (hidden, hidden))
    decoder = VectorNet(latent, dims[target], condition.width, (hidden, hidden))
    return VAE(encoder, decoder, latent, target, condition)


def with_gaps(dataset: ArrayDataset, rate: float, seed: int = 0) -> ArrayDataset:
    """The same samples, each modality of each lost with probability `rate`, independently of everything else.

    A sample that would lose all that it has keeps one modality, any of them with equal chance.

    Raises:
        ValueError: a rate outside 0 to 1.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate is {rate}; it is a probability, from 0 to 1")
    random = torch.Generator().manual_seed(seed)
    there = torch.stack(list(dataset.lengths.values()), dim=1) > 0  # (N, M)
    kept = there & (torch.rand(there.shape, generator=random) >= rate)
    spare = torch.rand(there.shape, generator=random).masked_fill(~there, -1).argmax(dim=1)
    kept[~kept.any(dim=1), spare[~kept.any(dim=1)]] = True
    kept &= there
    lengths = {n: k * kept[:, m] for m, (n, k) in enumerate(dataset.lengths.items())}
    return ArrayDataset(dataset.arrays, lengths, dataset.labels)


@torch.no_grad()
def fill(dataset: ArrayDataset, fillers: Mapping[str, VAE], seed: int = 0) -> ArrayDataset:
    """The same samples, with every missing modality drawn by its filler from those that are present.

    Args:
        dataset: one vector a modality and sample, such as `mmbook.models.encode_dataset` makes with pooled
            encoders; length 0 where a sample lacks the modality.
        fillers: name -> trained VAE; a modality without a filler stays missing. All draws are from what the
            dataset holds, never from another draw.
        seed: of the draws: another seed is another draw.

    Raises:
        ValueError: modalities of more than one token.
    """
    for name, array in dataset.arrays.items():
        if array.shape[1] != 1:
            raise ValueError(
                f"{name!r} has {array.shape[1]} tokens a sample; a filler draws one: pool them first"
            )
    random = torch.Generator().manual_seed(seed)
    inputs = {n: Modality(x, dataset.lengths[n][:, None] > 0) for n, x in dataset.arrays.items()}
    arrays: dict[str, Tensor] = {}
    for name, modality in inputs.items():
        arrays[name] = modality.values
        if name in fillers:
            given = {other: inputs[other] for other in fillers[name].condition.dims}
            drawn = fillers[name].sample(given, generator=random)[:, None]  # (N, 1, D)
            arrays[name] = torch.where(modality.mask[..., None], modality.values, drawn)
    lengths = {n: torch.ones_like(k) if n in fillers else k for n, k in dataset.lengths.items()}
    return from_arrays(arrays, dataset.labels, lengths)
