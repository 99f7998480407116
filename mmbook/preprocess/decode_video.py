"""Videos decoded by PyAV: timestamps first, then only the frames that are wanted."""

from __future__ import annotations

import io
import os
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

MOST_BYTES = 2**30  # of decoded frames that read_video keeps: 170 frames of full HD, 70,000 of 72 x 72
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff")
# Containers whose packets carry the time of their frame, and in which one can jump to a key frame.
INDEXED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")

Source = str | os.PathLike[str] | bytes
Pick = Callable[[Tensor], Tensor]


def read_video(
    source: Source, pick: Pick | None = None, folder_rate: float | None = None
) -> tuple[Tensor, Tensor]:
    """The frames of a video, and when each appears.

    Args:
        source: path or bytes of a video file (mp4, webm, mkv, mov, avi, ...), or path of a folder of
            pictures, which are put in natural order: ``frame9.png`` before ``frame10.png``.
        pick: from the times of all frames ``(N,)`` to the indices ``(T,)`` of those to decode, ascending, as
            in ``lambda times: sample_frames(times, 16)``; None for all. Frames between the wanted ones are
            decoded only as far as the compression needs them, and never kept.
        folder_rate: frames a second of a folder, which does not say it itself.

    Returns:
        Frames ``(T, 3, H, W)`` uint8, upright, and times ``(T,)`` float64 in seconds, as the file has them:
        with a variable frame rate they are not evenly spaced.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: a file that is empty, cut off, damaged or without video (the message has its name); frames
            that would take more than `MOST_BYTES` of memory; a folder without pictures or without its rate.
    """
    name, size = name_of(source), 0
    frames: list[Tensor] = []
    times: list[float] = []
    for seconds, frame in picked_frames(source, pick, folder_rate):
        size += frame.numel()
        if size > MOST_BYTES:
            raise ValueError(
                f"the frames of {name} take more than {MOST_BYTES / 2**30:g} GiB when decoded; "
                f"pick fewer of them, as in pick=lambda times: sample_frames(times, 16)"
            )
        if frames and frame.shape != frames[0].shape:
            raise ValueError(
                f"{name} changes its size from {tuple(frames[0].shape)} to {tuple(frame.shape)} at "
                f"{seconds:g} s; VideoProcessor brings all frames to one size"
            )
        frames.append(frame)
        times.append(seconds)
    return torch.stack(frames), torch.tensor(times, dtype=torch.float64)


def picked_frames(
    source: Source, pick: Pick | None = None, folder_rate: float | None = None
) -> Iterator[tuple[float, Tensor]]:
    """Seconds and frame ``(3, H, W)`` uint8, one after the other; see `read_video`."""
    if not isinstance(source, bytes) and Path(source).is_dir():
        yield from _folder(Path(source), pick, folder_rate)
        return
    name = name_of(source)
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise FileNotFoundError(f"no video file at {name}")
    with _opened(source, name) as (container, stream):
        times, keys = _index(container, stream, name)
        tick = stream.time_base  # seconds, a fraction
    pick = pick or (lambda seconds: torch.arange(len(seconds)))
    wanted = [times[i] for i in pick(torch.tensor(times, dtype=torch.float64) * float(tick))]
    with _opened(source, name) as (container, stream):
        decoded = _decoded(container, stream, sorted(set(wanted)), keys, name)
        shown, frame = next(decoded)
        for time in wanted:  # ascending, perhaps repeated
            if time != shown:
                shown, frame = next(decoded)
            yield float(time * tick), frame


def name_of(source: Source) -> str:
    """What an error message calls `source`."""
    return f"{len(source)} bytes" if isinstance(source, bytes) else os.fspath(source)


@contextmanager
def _opened(source: Source, name: str) -> Iterator[tuple[Any, Any]]:
    """The container and its first video stream; FFmpeg's errors get the name of the file."""
    import av

    try:
        with av.open(io.BytesIO(source) if isinstance(source, bytes) else os.fspath(source)) as container:
            if not container.streams.video:
                kinds = sorted({str(stream.type) for stream in container.streams}) or ["nothing"]
                raise ValueError(
                    f"{name} contains {', '.join(kinds)} and no video. Give a video file; if this was one, "
                    f"it is cut off: fetch it again"
                )
            stream = container.streams.video[0]
            yield container, stream
    except av.FFmpegError as error:
        raise ValueError(
            f"cannot read a video from {name}: {error.strerror}. The file is empty, cut off, damaged or of "
            f"another kind: fetch it again or leave it out"
        ) from error


def _index(container: Any, stream: Any, name: str) -> tuple[list[int], list[int]]:
    """The time of every frame and of every key frame, in ticks of the stream, ascending.

    An indexed container tells them without decoding, and how many there should be, of the sound as well. In
    the others the whole video is decoded once, and nothing kept.
    """
    if container.format.name not in INDEXED:
        times = sorted(_sound(frame, name).pts or 0 for frame in container.decode(stream))
        return times, times[:1]
    packets: dict[int, list[Any]] = {part.index: [] for part in container.streams}
    for packet in container.demux():
        if packet.size or packet.pts is not None:  # else it only says that the stream has ended
            packets[packet.stream.index].append(packet)
    for part in (*container.streams.video, *container.streams.audio):
        if _lacks_packets(part, packets[part.index]):
            raise _cut_off(name)
    shown = [packet for packet in packets[stream.index] if packet.size and not packet.is_discard]
    times = sorted(packet.pts for packet in shown)
    return times, sorted(packet.pts for packet in shown if packet.is_keyframe) or times[:1]


def _lacks_packets(stream: Any, packets: list[Any]) -> bool:
    """Whether less is there than the header states: mp4 the number of packets, webm the time of the end."""
    if not packets or any(packet.is_corrupt or packet.pts is None for packet in packets):
        return True
    end = max(packet.pts + (packet.duration or 0) for packet in packets) * float(stream.time_base)
    stated = next((value for key, value in stream.metadata.items() if key.startswith("DURATION")), "0:0:0")
    hours, minutes, seconds = (float(part) for part in stated.split(":"))
    half_a_packet = end / len(packets) / 2
    return len(packets) < stream.frames or end < 3600 * hours + 60 * minutes + seconds - half_a_packet


def _decoded(
    container: Any, stream: Any, wanted: list[int], keys: list[int], name: str
) -> Iterator[tuple[int, Tensor]]:
    """Time and frame of each wanted time, jumping over groups of pictures in which nothing is wanted."""
    frames, at = container.decode(stream), -1
    for time in wanted:
        key = keys[max(0, bisect_right(keys, time) - 1)]
        coming = keys[min(bisect_right(keys, at), len(keys) - 1)]  # the key frame that decoding meets next
        if key > coming:
            container.seek(key, stream=stream)
            frames = container.decode(stream)
        for frame in frames:
            at = _sound(frame, name).pts or 0
            if at >= time:
                break
        if at != time:
            raise _cut_off(name)
        rgb = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)  # (H, W, 3) -> (3, H, W)
        # a telephone stores what its sensor saw, and how far to turn it, counter-clockwise
        yield time, torch.rot90(rgb, round(frame.rotation / 90), dims=(1, 2)).contiguous()


def _sound(frame: Any, name: str) -> Any:
    """`frame` itself, if the decoder did not have to invent parts of it."""
    if frame.is_corrupt:
        raise _cut_off(name)
    return frame


def _cut_off(name: str) -> ValueError:
    return ValueError(f"{name} is cut off or damaged: frames that it announces are not there. Fetch it again")


def _folder(folder: Path, pick: Pick | None, rate: float | None) -> Iterator[tuple[float, Tensor]]:
    from PIL import Image

    from mmbook.preprocess.image import to_rgb

    files = [file for file in folder.iterdir() if file.suffix.lower() in PICTURES and file.name[0] != "."]
    if not files:
        raise ValueError(f"{folder} contains no pictures ({', '.join(PICTURES)})")
    if rate is None or not rate > 0:
        raise ValueError(f"{folder} is a folder, which has no frame rate (got {rate}); state frames a second")
    files.sort(key=lambda file: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", file.name)])
    times = torch.arange(len(files), dtype=torch.float64) / rate
    for i in pick(times).tolist() if pick else range(len(files)):
        try:
            with Image.open(files[i]) as image:
                yield float(times[i]), torch.from_numpy(np.array(to_rgb(image))).permute(2, 0, 1)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(
                f"cannot read a frame from {files[i]}: {error}. Replace it or leave it out"
            ) from error
