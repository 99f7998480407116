"""Contrastive losses of two sides of pairs: InfoNCE, as of CLIP, and the sigmoid loss of SigLIP."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def info_nce(a: Tensor, b: Tensor, temperature: Tensor | float = 0.07) -> Tensor:
    """Symmetric InfoNCE, the loss of CLIP: each row picks its partner among the other side's B rows.

    Cross-entropy over the partners, both ways, averaged. The score of a pair is the cosine of its two
    vectors, divided by the temperature; vectors are brought to length one here. Every row of the batch is a
    wrong answer to all others, so the loss depends on the size of the batch: with vectors that say nothing it
    is ``log B``.

    Args:
        a: ``(B, D)``, one side of B pairs.
        b: ``(B, D)``, the other; row i of one belongs to row i of the other.
        temperature: above 0; a number, or a scalar tensor to be learned. Small: only near misses count.

    Returns:
        Scalar, in nats.

    Raises:
        ValueError: shapes that are not ``(B, D)`` twice; fewer than two pairs; a number that is not above 0.

    Source: van den Oord, Li and Vinyals (2018), https://arxiv.org/abs/1807.03748; symmetric as in Radford et
    al. (2021), https://arxiv.org/abs/2103.00020.
    """
    if not isinstance(temperature, Tensor) and temperature <= 0:
        raise ValueError(f"temperature is {temperature}; it must be above 0, such as 0.07")
    scores = cosines(a, b) / temperature  # (B, B)
    own = torch.arange(len(scores), device=scores.device)
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2


def sigmoid_contrastive(
    a: Tensor, b: Tensor, scale: Tensor | float = 10.0, bias: Tensor | float = -10.0
) -> Tensor:
    """The sigmoid loss of SigLIP: each of the B × B pairs is judged by itself, right or wrong, no softmax.

    ``-1/B * sum over i, j of log sigmoid(z_ij (scale * cosine_ij + bias))`` with z = 1 on the diagonal and -1
    elsewhere. No pair needs to know the others' scores, so a batch can be cut into blocks. The bias starts at
    -10 since nearly all pairs are wrong ones. Equal to the loss of SigLIP on normalised vectors.

    Args:
        a, b: ``(B, D)`` as in `info_nce`.
        scale, bias: numbers, or scalar tensors to be learned. The values are the paper's at the start of
            training, where it learns the logarithm of the scale.

    Returns:
        Scalar, in nats for a row (and not for a pair).

    Raises:
        ValueError: as in `info_nce`.

    Source: Zhai et al. (2023), *Sigmoid Loss for Language Image Pre-Training*,
    https://arxiv.org/abs/2303.15343.
    """
    scores = scale * cosines(a, b) + bias  # (B, B)
    together = 2 * torch.eye(len(scores), device=scores.device, dtype=scores.dtype) - 1
    return -F.logsigmoid(together * scores).sum() / len(scores)


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """The cosine of every row of `a` with every row of `b`: ``(B, B)``."""
    if a.dim() != 2 or a.shape != b.shape or len(a) < 2:
        raise ValueError(
            f"got pairs of shapes {tuple(a.shape)} and {tuple(b.shape)}; both must be (B, D), B at least 2"
        )
    return F.normalize(a, dim=1) @ F.normalize(b, dim=1).T
