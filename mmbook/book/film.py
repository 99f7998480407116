"""Videos made: a file, or a player in a page."""

from __future__ import annotations

import base64
import io
import os
from fractions import Fraction
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from IPython.display import HTML

# What browsers play without a plug-in: codec of the picture, of the sound, options of each container.
CONTAINERS: dict[str, tuple[str, str, dict[str, str]]] = {
    ".webm": ("libvpx-vp9", "libopus", {}),
    ".mp4": ("libx264", "aac", {"movflags": "faststart"}),  # the index in front: it plays while it loads
}
QUALITY = {
    "libvpx-vp9": {"crf": "16", "b": "0", "deadline": "realtime", "cpu-used": "5", "row-mt": "0"},
    "libx264": {"crf": "16", "preset": "veryfast"},
}
TICKS = 90_000  # a second: fine enough for any frame rate


def write_video(
    path: str | os.PathLike[str],
    frames: Tensor,
    rate: float = 8.0,
    audio: Any = None,
    audio_rate: int = 16000,
    times: Tensor | None = None,
) -> None:
    """Write a video that browsers play: ``.webm`` (VP9, Opus) or ``.mp4`` (H.264, AAC).

    Args:
        path: where to; the ending decides the format.
        frames: ``(T, 3, H, W)`` uint8; H and W even, since colour is stored at half the resolution.
        rate: frames a second.
        audio: ``(N,)`` float in [-1, 1], mono, or None for a silent film.
        audio_rate: samples a second.
        times: ``(T,)`` seconds, ascending, at which each frame appears, for a variable frame rate; None for a
            steady one.

    Raises:
        ValueError: another ending; frames of another shape or type; times that do not fit.
    """
    ending = os.path.splitext(os.fspath(path))[1].lower()
    if ending not in CONTAINERS:
        raise ValueError(f"{os.fspath(path)} ends in {ending!r}; it must be one of {', '.join(CONTAINERS)}")
    with open(path, "wb") as file:
        _write(file, ending, frames, rate, audio, audio_rate, times)


def play(
    frames: Tensor,
    rate: float = 8.0,
    audio: Any = None,
    audio_rate: int = 16000,
    label: str = "video",
    width: int = 240,
) -> HTML:
    """A player in the page, which needs no network: the video is inside the page as text.

    Args:
        frames, rate, audio, audio_rate: as in `write_video`.
        label: what a screen reader says.
        width: on the screen, in pixels.
    """
    from IPython.display import HTML

    file = io.BytesIO()
    _write(file, ".webm", frames, rate, audio, audio_rate, None)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return HTML(
        f'<video controls loop playsinline preload="metadata" width="{width}" style="max-width:100%" '
        f'aria-label="{escape(label)}" src="data:video/webm;base64,{data}"></video>'
    )


def _write(
    file: Any,
    ending: str,
    frames: Tensor,
    rate: float,
    audio: Any,
    audio_rate: int,
    times: Tensor | None,
) -> None:
    import av

    if frames.dim() != 4 or frames.shape[1] != 3 or str(frames.dtype) != "torch.uint8" or 0 in frames.shape:
        raise ValueError(
            f"frames are {frames.dtype} of shape {tuple(frames.shape)}; they must be uint8 (T, 3, H, W)"
        )
    if frames.shape[2] % 2 or frames.shape[3] % 2:
        raise ValueError(f"frames are {frames.shape[2]} x {frames.shape[3]} pixels; both must be even")
    if times is not None and (times.shape != frames.shape[:1] or not (times.diff() > 0).all()):
        raise ValueError(
            f"times has shape {tuple(times.shape)}; it must be ({len(frames)},), one a frame, ascending"
        )
    if not rate > 0:
        raise ValueError(f"rate is {rate}; give frames a second, above 0")
    codec, sound_codec, options = CONTAINERS[ending]
    steady = Fraction(rate).limit_denominator(1001)
    with av.open(file, "w", format=ending[1:], options=options) as container:
        picture: Any = container.add_stream(codec, rate=steady, options=QUALITY[codec])
        picture.height, picture.width = frames.shape[2:]
        picture.pix_fmt = "yuv420p"
        picture.time_base = picture.codec_context.time_base = Fraction(1, TICKS)
        sound: Any = None
        if audio is not None:
            sound = container.add_stream(sound_codec, rate=48000, layout="mono")
            samples = np.asarray(audio, dtype=np.float32).reshape(1, -1)
            heard = av.AudioFrame.from_ndarray(samples, format="flt", layout="mono")
            heard.rate = audio_rate
            container.mux([*sound.encode(heard), *sound.encode()])
        for i, frame in enumerate(frames):
            seen = av.VideoFrame.from_ndarray(frame.permute(1, 2, 0).contiguous().numpy(), format="rgb24")
            second = Fraction(float(times[i])).limit_denominator(TICKS) if times is not None else i / steady
            seen.time_base, seen.pts = Fraction(1, TICKS), round(second * TICKS)
            container.mux(picture.encode(seen))
        container.mux(picture.encode())
