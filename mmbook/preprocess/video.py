"""Video: decoded, sampled in time, cropped, resized, standardised."""

from __future__ import annotations

import os

import torch
from torch import Tensor
from torch.nn import functional as F

from mmbook.preprocess.decode_video import name_of, picked_frames
from mmbook.preprocess.image import IMAGENET_MEAN, IMAGENET_STD
from mmbook.preprocess.video_sampling import sample_frames, sample_rate
from mmbook.registry import register


@register
class VideoProcessor:
    """A video to a tensor ``(T, 3, size, size)`` float32, each frame as `ImageProcessor` makes a picture.

    Takes the path or the bytes of a video file, the path of a folder of pictures, or a tensor
    ``(T, 3, H, W)``, uint8 or float in [0, 1]. One frame at a time is decoded and made small, so a film of
    two hours takes no more memory than a clip; a file's timestamps decide which frames are taken.

    Args:
        size: height and width, in pixels.
        frames: most frames of the output.
        rate: frames a second to take, from the start on; None spreads `frames` of them over the whole video.
        source_rate: frames a second of folders and tensors, which do not say it themselves. Needed only
            together with `rate`.
    """

    def __init__(
        self, size: int = 64, frames: int = 16, rate: float | None = None, source_rate: float | None = None
    ) -> None:
        if size < 1 or frames < 1:
            raise ValueError(f"size is {size} and frames {frames}; both must be at least 1")
        for name, value in {"rate": rate, "source_rate": source_rate}.items():
            if value is not None and not value > 0:
                raise ValueError(f"{name} is {value}; give frames a second, above 0, or None")
        self.size, self.frames, self.rate, self.source_rate = size, frames, rate, source_rate

    def __call__(self, video: str | os.PathLike[str] | bytes | Tensor) -> Tensor:
        """``(T, 3, size, size)`` float32, 1 <= T <= `frames`.

        Raises:
            FileNotFoundError: no such file or folder.
            ValueError: a file that is empty, cut off, damaged or without video (the message has its name); a
                tensor of another shape, type or range; a rate without the source's.
            TypeError: another kind of object.
        """
        if isinstance(video, Tensor):
            whole = _checked(video)
            return self._standardised(whole[self._pick(self._times(len(whole)))])
        if not isinstance(video, str | os.PathLike | bytes):
            raise TypeError(
                f"VideoProcessor got {type(video).__name__}; it takes a path, bytes or a tensor "
                f"(T, 3, H, W). A video that is missing is left out of the row"
            )
        if not isinstance(video, bytes) and os.path.isdir(video) and self.rate and not self.source_rate:
            raise self._no_rate(name_of(video))
        picked = picked_frames(video, self._pick, self.source_rate or 1.0)
        return torch.cat([self._standardised(frame[None]) for _, frame in picked])

    def undo(self, video: Tensor) -> Tensor:
        """``(..., 3, H, W)`` back to uint8 of the same shape, as `write_video` takes it."""
        mean, std = video.new_tensor(IMAGENET_MEAN), video.new_tensor(IMAGENET_STD)
        rgb = video * std[:, None, None] + mean[:, None, None]
        return (rgb.clamp(0, 1) * 255).round().to(torch.uint8)

    def _pick(self, times: Tensor) -> Tensor:
        if self.rate is None:
            return sample_frames(times, self.frames)
        return sample_rate(times, self.rate, self.frames)

    def _times(self, frames: int) -> Tensor:
        if self.rate and not self.source_rate:
            raise self._no_rate("the tensor")
        return torch.arange(frames, dtype=torch.float64) / (self.source_rate or 1.0)

    def _no_rate(self, name: str) -> ValueError:
        return ValueError(
            f"{name} has no frame rate of its own, so rate={self.rate} a second cannot be taken from it; "
            f"give source_rate as well"
        )

    def _standardised(self, frames: Tensor) -> Tensor:
        """``(T, 3, H, W)`` of any size: the middle square, resized, standardised as ImageNet's."""
        height, width = frames.shape[2:]
        side = min(height, width)
        top, left = round((height - side) / 2), round((width - side) / 2)
        square = frames[:, :, top : top + side, left : left + side]
        square = square.float() / 255 if frames.dtype == torch.uint8 else square.float()
        if side != self.size:
            square = F.interpolate(square, (self.size, self.size), mode="bilinear", antialias=True)
        mean, std = square.new_tensor(IMAGENET_MEAN), square.new_tensor(IMAGENET_STD)
        return (square - mean[:, None, None]) / std[:, None, None]


def _checked(video: Tensor) -> Tensor:
    if video.dim() != 4 or video.shape[1] != 3 or 0 in video.shape:
        raise ValueError(f"the video is a tensor of shape {tuple(video.shape)}; it must be (T, 3, H, W)")
    if video.dtype == torch.uint8:
        return video
    if not video.is_floating_point():
        raise ValueError(f"the video is a tensor of {video.dtype}; give uint8, or float in [0, 1]")
    low, high = video.min().item(), video.max().item()
    if not (low >= 0 and high <= 1):  # this way round, NaN is refused as well
        raise ValueError(f"the video runs from {low:g} to {high:g}; a float video must lie in [0, 1]")
    return video
