"""Videos: written, decoded, sampled in time, and every way in which a file can be broken."""

from __future__ import annotations

import base64
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mmbook.book.film import play, write_video
from mmbook.preprocess import (
    ImageProcessor,
    VideoProcessor,
    decode_video,
    read_video,
    sample_clips,
    sample_frames,
    sample_rate,
)
from mmbook.registry import build

ENDINGS = [".webm", ".mp4"]


def film(frames: int = 20, height: int = 32, width: int = 32) -> Tensor:
    """A grey that grows lighter, with a darker left half: frame and side can be read off the pixels."""
    made = torch.zeros(frames, 3, height, width, dtype=torch.uint8)
    made += (40 + 200 * torch.arange(frames) / frames).to(torch.uint8)[:, None, None, None]
    made[..., : width // 2] -= 40
    return made


def tone(seconds: float = 2.5, hertz: float = 440) -> Tensor:
    return 0.5 * torch.sin(2 * torch.pi * hertz * torch.arange(int(16000 * seconds)) / 16000)


@pytest.fixture(params=ENDINGS)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """20 frames, 8 a second, with a sound."""
    path = tmp_path / f"holiday{request.param}"
    write_video(path, film(), 8, tone())
    return path


def assert_looks_like(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape and found.dtype == torch.uint8
    assert (found.float() - expected.float()).abs().mean() < 4, "the codecs lose a little, not more"


# ---- which frames


def test_frames_are_spread_evenly_in_time() -> None:
    steady = torch.arange(30) / 10
    assert sample_frames(steady, 30).tolist() == list(range(30))
    assert sample_frames(steady, 6).tolist() == [2, 7, 12, 17, 22, 27], "the middle of each stretch"
    assert sample_frames(steady[:4], 9).tolist() == [0, 1, 2, 3], "no frame twice for want of others"
    assert sample_frames(steady + 7.5, 2).tolist() == [7, 22], "a film may start late"
    # one second of ten frames, then a picture that stays for nine
    slow = torch.cat([torch.arange(10) / 10, torch.tensor([1.0, 10.0])])
    taken = sample_frames(slow, 10)
    assert (taken == 10).sum() >= 4 and (taken < 10).sum() <= 1


def test_sampling_at_a_rate() -> None:
    steady = torch.arange(30, dtype=torch.float64) / 10
    assert sample_rate(steady, 10, 99).tolist() == list(range(30))
    assert sample_rate(steady, 5, 99).tolist() == list(range(0, 30, 2))
    assert sample_rate(steady, 5, 4).tolist() == [0, 2, 4, 6]
    assert sample_rate(steady, 20, 5).tolist() == [0, 0, 1, 1, 2]


def test_clips_are_windows_that_cover_the_film() -> None:
    clips = sample_clips(frames=100, count=4, length=8, stride=3)
    assert clips.shape == (4, 8)
    assert (clips.diff(dim=1) == 3).all()
    assert clips.min() == 0 and clips.max() == 99
    assert clips[:, 0].diff().float().std() < 1, "evenly spread"
    assert sample_clips(9, 1, 3).tolist() == [[3, 4, 5]], "a single clip is the middle one"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sample_frames(torch.zeros(0), 3), r"\(0,\).*at least one"),
        (lambda: sample_frames(torch.tensor([0.0, 2, 1]), 3), "ascend"),
        (lambda: sample_frames(torch.arange(3.0), 0), "count is 0"),
        (lambda: sample_rate(torch.arange(3.0), -1, 3), "rate is -1"),
        (lambda: sample_clips(10, 2, 6, 2), "spans 11 frames; the video has 10"),
        (lambda: sample_clips(10, 2, 0), "length is 0"),
        (lambda: VideoProcessor(size=0), "size is 0"),
        (lambda: VideoProcessor(rate=0), "rate is 0"),
    ],
)
def test_impossible_samples_are_named(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]


# ---- reading and writing


def test_what_is_written_is_read(file: Path) -> None:
    frames, times = read_video(file)
    assert_looks_like(frames, film())
    torch.testing.assert_close(times, torch.arange(20, dtype=torch.float64) / 8, atol=1e-3, rtol=0)
    again, same = read_video(file.read_bytes())
    assert torch.equal(again, frames) and torch.equal(same, times)


def test_the_sound_is_written(file: Path) -> None:
    import av

    with av.open(str(file)) as container:
        blocks = [frame.to_ndarray() for frame in container.decode(audio=0)]
        rate = container.streams.audio[0].rate
    wave = np.concatenate(blocks, axis=1)[0]
    assert abs(len(wave) / rate - 2.5) < 0.1
    peak = np.abs(np.fft.rfft(wave)).argmax() * rate / len(wave)
    assert abs(peak - 440) < 2


@pytest.mark.parametrize("ending", ENDINGS)
def test_variable_frame_rate_is_kept(ending: str, tmp_path: Path) -> None:
    uneven = torch.tensor([0.0, 0.1, 0.2, 1.0, 1.05, 2.5], dtype=torch.float64)
    write_video(tmp_path / f"uneven{ending}", film(6), times=uneven)
    _, times = read_video(tmp_path / f"uneven{ending}")
    torch.testing.assert_close(times, uneven, atol=1e-3, rtol=0)


@pytest.mark.parametrize("ending", ENDINGS)
def test_picked_frames_are_those_of_the_whole(ending: str, tmp_path: Path) -> None:
    """Over several groups of pictures, which are jumped over or decoded from their start."""
    path = tmp_path / f"long{ending}"
    write_video(path, film(600, 16, 16), 25)
    frames, times = read_video(path)
    for chosen in ([0, 3, 127, 128, 129, 400, 401, 599], [599], [300, 300, 301], list(range(590, 600))):
        some, when = read_video(path, lambda _, chosen=chosen: torch.tensor(chosen))
        assert torch.equal(some, frames[chosen]) and torch.equal(when, times[chosen])


def test_other_containers_are_read(tmp_path: Path) -> None:
    import av

    for ending, codec in (("mkv", "libx264"), ("avi", "mpeg4"), ("ts", "mpeg2video")):
        path = str(tmp_path / f"film.{ending}")
        with av.open(path, "w") as container:
            stream = container.add_stream(codec, rate=25)
            stream.height = stream.width = 32
            stream.pix_fmt, stream.bit_rate = "yuv420p", 800_000
            for frame in film():
                image = av.VideoFrame.from_ndarray(frame.permute(1, 2, 0).contiguous().numpy(), "rgb24")
                container.mux(stream.encode(image))
            container.mux(stream.encode())
        frames, times = read_video(path)
        assert_looks_like(frames, film())
        torch.testing.assert_close(times.diff(), torch.full((19,), 0.04).double(), atol=2e-3, rtol=0)
        some, _ = read_video(path, lambda _: torch.tensor([4, 17]))
        assert torch.equal(some, frames[[4, 17]])


@pytest.mark.parametrize(("turn", "matrix"), [(1, (0, -1, 1, 0)), (2, (-1, 0, 0, -1)), (3, (0, 1, -1, 0))])
def test_a_telephone_film_is_upright(turn: int, matrix: tuple[int, ...], tmp_path: Path) -> None:
    """mp4 stores how to turn the film in its track header; `turn` quarters counter-clockwise."""
    write_video(tmp_path / "flat.mp4", film(4, 32, 64))
    data = bytearray((tmp_path / "flat.mp4").read_bytes())
    place = data.index(b"tkhd") + 4 + 40  # version and flags, dates, id, length, layer, volume
    a, b, c, d = (number * 65536 for number in matrix)
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    upright, _ = read_video(bytes(data))
    flat, _ = read_video(tmp_path / "flat.mp4")
    assert torch.equal(upright, torch.rot90(flat, turn, dims=(2, 3)))


def test_a_folder_is_read_in_natural_order(tmp_path: Path) -> None:
    from PIL import Image

    for i, frame in enumerate(film(12)):
        Image.fromarray(frame.permute(1, 2, 0).numpy()).save(tmp_path / f"frame{i}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    frames, times = read_video(tmp_path, folder_rate=5)
    assert torch.equal(frames, film(12))
    torch.testing.assert_close(times, torch.arange(12).double() / 5)
    some, _ = read_video(tmp_path, lambda t: sample_frames(t, 3), folder_rate=5)
    assert torch.equal(some, film(12)[[2, 6, 10]])
    with pytest.raises(ValueError, match="frame rate"):
        read_video(tmp_path)
    (tmp_path / "frame7.png").write_bytes((tmp_path / "frame7.png").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"frame7\.png"):
        read_video(tmp_path, folder_rate=5)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no pictures"):
        read_video(tmp_path / "empty", folder_rate=5)


def test_memory_is_bounded(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """read_video stops before it fills the memory; the processor, which keeps small frames, goes on."""
    monkeypatch.setattr(decode_video, "MOST_BYTES", 5 * 3 * 32 * 32)
    with pytest.raises(ValueError, match=r"holiday.*pick fewer"):
        read_video(file)
    assert len(read_video(file, lambda t: sample_frames(t, 5))[0]) == 5
    assert len(VideoProcessor(8, frames=20)(file)) == 20


# ---- broken files


def test_a_file_cut_anywhere_is_named(file: Path) -> None:
    whole = file.read_bytes()
    for twentieths in range(1, 19):
        file.write_bytes(whole[: len(whole) * twentieths // 20])
        with pytest.raises(ValueError, match=re.escape(file.name)):
            read_video(file)


def test_the_last_packets_are_missed(file: Path) -> None:
    """Cut cleanly between two packets: everything that is there can be decoded."""
    import av

    with av.open(str(file)) as container:
        places = sorted(packet.pos for packet in container.demux(video=0) if packet.size)
    file.write_bytes(file.read_bytes()[: places[-2]])
    with pytest.raises(ValueError, match=rf"{file.name} is cut off"):
        VideoProcessor()(file)


@pytest.mark.parametrize(
    "content", [b"", b"this is a text " * 99, b"\0" * 5000], ids=["empty", "text", "zeros"]
)
@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_no_video_is_named(content: bytes, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"holiday{ending}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(path.name)):
        VideoProcessor()(path)
    with pytest.raises(ValueError, match=f"{len(content)} bytes"):
        VideoProcessor()(content)


def test_a_sound_is_no_video(tmp_path: Path) -> None:
    import soundfile

    soundfile.write(tmp_path / "song.ogg", tone().numpy(), 16000)
    with pytest.raises(ValueError, match=r"song\.ogg contains audio and no video"):
        read_video(tmp_path / "song.ogg")


def test_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.mp4"):
        VideoProcessor()(tmp_path / "gone.mp4")


# ---- the processor


def test_frames_are_made_as_pictures_are(tmp_path: Path) -> None:
    frames = torch.randint(0, 256, (5, 3, 40, 52), dtype=torch.uint8)
    expected = torch.cat([ImageProcessor(24)(frame) for frame in frames])
    for video in (frames, frames.float() / 255):
        torch.testing.assert_close(VideoProcessor(24)(video), expected, atol=1e-5, rtol=1e-5)
    write_video(tmp_path / "noise.mp4", frames)
    decoded, _ = read_video(tmp_path / "noise.mp4")
    torch.testing.assert_close(VideoProcessor(24)(tmp_path / "noise.mp4"), VideoProcessor(24)(decoded))


def test_the_processor_samples_in_time(file: Path) -> None:
    small = VideoProcessor(8)
    frames = small.undo(small(file))
    assert len(frames) == 16
    every = VideoProcessor(8, frames=20)(file)
    assert torch.equal(VideoProcessor(8, frames=5, rate=2)(file), every[[0, 4, 8, 12, 16]])
    assert torch.equal(VideoProcessor(8, rate=2, source_rate=8)(film()), VideoProcessor(8)(film()[::4]))
    with pytest.raises(ValueError, match="the tensor has no frame rate.*source_rate"):
        VideoProcessor(8, rate=2)(film())
    with pytest.raises(ValueError, match="source_rate"):
        VideoProcessor(8, rate=2)(file.parent)


def test_undo_gives_the_frames_back() -> None:
    process = VideoProcessor(32, frames=20)
    assert torch.equal(process.undo(process(film())), film())


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (torch.zeros(3, 8, 8), r"\(3, 8, 8\).*\(T, 3, H, W\)"),
        (torch.zeros(0, 3, 8, 8), r"\(0, 3, 8, 8\)"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.int64), "int64"),
        (torch.full((2, 3, 8, 8), 255.0), "255.*0, 1"),
        (torch.full((2, 3, 8, 8), float("nan")), "nan"),
    ],
)
def test_impossible_tensor_is_named(video: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VideoProcessor()(video)


def test_other_objects_are_refused() -> None:
    with pytest.raises(TypeError, match=r"NoneType.*left out"):
        VideoProcessor()(None)  # type: ignore[arg-type]


def test_config_rebuilds_it() -> None:
    process = VideoProcessor(8, frames=3, rate=4, source_rate=8)
    assert torch.equal(build(process.config)(film()), process(film()))


# ---- writing


@pytest.mark.parametrize(
    ("name", "frames", "options", "message"),
    [
        ("a.gif", film(), {}, r"'\.gif'.*webm, \.mp4"),
        ("a.mp4", film().float(), {}, "float32"),
        ("a.mp4", film(4, 31, 32), {}, "31 x 32.*even"),
        ("a.mp4", film(4), {"times": torch.arange(3.0)}, r"\(4,\)"),
        ("a.mp4", film(4), {"rate": 0}, "rate is 0"),
    ],
)
def test_what_cannot_be_written_is_named(
    name: str, frames: Tensor, options: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / name, frames, **options)  # type: ignore[arg-type]


def test_a_player_holds_its_film() -> None:
    page = play(film(), 8, tone(), label="a <grey> square").data
    assert "a &lt;grey&gt; square" in page and "http" not in page
    data = re.search(r"data:video/webm;base64,([^\"]+)", page)
    assert data
    frames, times = read_video(base64.b64decode(data[1]))
    assert_looks_like(frames, film())
    assert times[-1] == pytest.approx(19 / 8, abs=1e-3)
