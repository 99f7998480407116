"""Which frames of a video to look at: by time, and not by number, since not every camera is steady."""

from __future__ import annotations

import torch
from torch import Tensor


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
