"""Pictures through a convolutional network: only real frames, and the cells of its grid as tokens."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mmbook.modality import Modality


def grid_tokens(network: Callable[[Tensor], Tensor], images: Modality) -> Modality:
    """Run `network` on the real frames only, and lay its grid cells out as tokens.

    Missing frames are left out of the network's batch, and are not run as blank pictures. So nothing under
    the mask is read, no time is spent on it, and a batch norm in training takes its mean and variance over
    real pictures. With no real frame at all, the network runs on a batch of zero pictures: its parameters are
    still part of the graph, with zero gradients, which distributed training waits for.

    Args:
        network: ``(N, 3, H, W)`` to ``(N, D, h, w)``.
        images: values ``(B, T, 3, H, W)``; an image is a video of one frame.

    Returns:
        Tokens ``(B, T * h * w, D)``, frame by frame and row by row of the grid.

    Raises:
        ValueError: values of another shape.
    """
    values, mask = images
    if values.dim() != 5 or values.shape[2] != 3:
        raise ValueError(
            f"pictures have shape {tuple(values.shape)}; it must be (B, T, 3, H, W), T = 1 for single ones, "
            f"as ImageProcessor or VideoProcessor and collate make them"
        )
    if torch.compiler.is_compiling() and not torch.is_grad_enabled():
        # the sizes in a traced graph cannot depend on values: all frames enter, and the blank ones' cells go
        values, B, T = images.cleaned().values, *mask.shape
        features = network(values.flatten(0, 1))  # (B * T, D, h, w)
        cells = features.shape[2] * features.shape[3]
        tokens = features.flatten(2).transpose(1, 2).reshape(B, T * cells, -1)
        return Modality(tokens, mask.repeat_interleave(cells, dim=1)).cleaned()
    # channels in the innermost place in memory: the same numbers, and the order that fast convolutions want
    frames = values[mask].contiguous(memory_format=torch.channels_last)  # (N, 3, H, W), N real frames
    features = network(frames)  # (N, D, h, w)
    B, T = mask.shape
    D, h, w = features.shape[1:]
    grid = features.new_zeros(B, T, h, w, D)
    grid[mask] = features.permute(0, 2, 3, 1)  # (N, h, w, D)
    return Modality(grid.view(B, T * h * w, D), mask.repeat_interleave(h * w, dim=1))
