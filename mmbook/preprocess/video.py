"""Video: a file or a tensor to few small frames; and which frames stand for the whole."""

from __future__ import annotations

import os

import torch
from torch import Tensor
from torch.nn import functional as F

from mmbook.preprocess.decode_video import name_of, picked_frames
from mmbook.preprocess.image import IMAGENET_MEAN, IMAGENET_STD, check_pixels, unit_range
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
            whole = check_pixels(video, "video", "(T, 3, H, W)")
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
        square = unit_range(frames[:, :, top : top + side, left : left + side])
        if side != self.size:
            square = F.interpolate(square, (self.size, self.size), mode="bilinear", antialias=True)
        mean, std = square.new_tensor(IMAGENET_MEAN), square.new_tensor(IMAGENET_STD)
        return (square - mean[:, None, None]) / std[:, None, None]


def sample_frames(times: Tensor, count: int) -> Tensor:
    """`count` frames spread evenly over the time of a video.

    The video is cut into `count` equal stretches; each gives the frame that is on the screen at its middle. A
    frame that stays for long is then taken more than once. A video of fewer frames gives each of them once.

    Args:
        times: ``(T,)`` seconds at which each frame appears, ascending. The last is taken to stay as long as
            the one before it.
        count: at least 1.

    Returns:
        ``(min(count, T),)`` long, ascending indices of frames.

    Raises:
        ValueError: no frame, a count below 1, times that do not ascend.
    """
    end = _end(times)
    _positive("count", count)
    if count >= len(times):
        return torch.arange(len(times))
    middles = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return _shown(times, times[0] + middles * (end - times[0]))


def sample_rate(times: Tensor, rate: float, most: int) -> Tensor:
    """The frames on the screen at the start and every 1 / `rate` seconds after it, at most `most` of them.

    Args:
        times: as in `sample_frames`.
        rate: frames a second.
        most: at least 1.

    Raises:
        ValueError: as in `sample_frames`, and a rate that is not above 0.
    """
    end = _end(times)
    _positive("most", most)
    if not rate > 0:
        raise ValueError(f"rate is {rate}; give frames a second, above 0")
    wanted = times[0] + torch.arange(most, dtype=torch.float64) / rate
    # a millionth of a second: a frame that should appear just now may be stored a rounding later
    return _shown(times, wanted[wanted < end - 1e-6] + 1e-6)


def sample_clips(frames: int, count: int, length: int, stride: int = 1) -> Tensor:
    """`count` windows of `length` frames, each `stride` frames after the one before it.

    The windows start evenly spread over the video; they overlap where it is short.

    Args:
        frames: number of frames in the video.
        count, length, stride: at least 1.

    Returns:
        ``(count, length)`` long, indices of frames.

    Raises:
        ValueError: a number below 1, or a video too short for one window.
    """
    for name, value in {"count": count, "length": length, "stride": stride}.items():
        _positive(name, value)
    span = (length - 1) * stride + 1
    if frames < span:
        raise ValueError(
            f"a clip of length {length} and stride {stride} spans {span} frames; the video has {frames}. "
            f"Lower length or stride"
        )
    last = frames - span
    starts = torch.linspace(0, last, count).round().long() if count > 1 else torch.tensor([last // 2])
    return starts[:, None] + torch.arange(length) * stride


def _end(times: Tensor) -> float:
    """When the last frame leaves the screen."""
    if times.dim() != 1 or len(times) == 0:
        raise ValueError(f"times has shape {tuple(times.shape)}; it must be (T,) with at least one frame")
    if not (times.diff() >= 0).all():
        raise ValueError("times does not ascend; sort the frames by the time at which they appear")
    return float(times[-1] + (times[-1] - times[-2] if len(times) > 1 else 1))


def _shown(times: Tensor, wanted: Tensor) -> Tensor:
    """The last frame that has appeared at each wanted time."""
    return torch.searchsorted(times.double(), wanted.double(), right=True) - 1


def _positive(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} is {value}; it must be at least 1")
