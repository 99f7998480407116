"""ImageProcessor: every way a picture comes, and every way it can be broken."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from mmbook.preprocess import ImageProcessor
from mmbook.preprocess.image import IMAGENET_MEAN, IMAGENET_STD
from mmbook.registry import build

RED = (200, 30, 60)


def scene(width: int = 40, height: int = 30) -> Image.Image:
    """Smooth colours, different in every corner."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=-1).astype(np.uint8))


def shown(image: object, size: int = 20) -> Tensor:
    """The picture as a reader sees it, ``(size, size, 3)`` in [0, 1]."""
    process = ImageProcessor(size)
    return process.undo(process(image))  # type: ignore[arg-type]


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_shape_type_and_standardisation() -> None:
    out = ImageProcessor(24)(scene())
    assert out.shape == (1, 3, 24, 24) and out.dtype == torch.float32
    flat = ImageProcessor(8)(Image.new("RGB", (9, 9), RED))
    expected = (torch.tensor(RED) / 255 - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    torch.testing.assert_close(flat, expected[None, :, None, None].expand_as(flat), atol=1e-5, rtol=1e-5)


def test_equals_torchvisions_own_pipeline() -> None:
    from torchvision.transforms import v2

    theirs = v2.Compose([
        v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.CenterCrop(50), v2.Resize(24, antialias=True),
        v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
    ])  # fmt: skip
    torch.testing.assert_close(ImageProcessor(24)(scene(70, 50))[0], torch.as_tensor(theirs(scene(70, 50))))


def test_every_source_gives_the_same(tmp_path: Path) -> None:
    image = scene()
    file = tmp_path / "scene.png"
    image.save(file)
    array = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    expected = ImageProcessor(16)(image)
    for source in (file, str(file), file.read_bytes(), array, array.float() / 255):
        torch.testing.assert_close(ImageProcessor(16)(source), expected)


def test_undo_gives_the_picture_back() -> None:
    square = scene(32, 32)
    expected = torch.from_numpy(np.array(square)) / 255
    torch.testing.assert_close(shown(square, 32), expected, atol=1e-5, rtol=0)


def test_aspect_ratio_is_kept() -> None:
    """The middle of a wide picture, and not the whole of it squashed: a disc stays a disc."""
    y, x = np.mgrid[:60, :120]
    disc = Image.fromarray((255 * ((x - 60) ** 2 + (y - 30) ** 2 < 20**2)).astype(np.uint8))
    inside = shown(disc, 60)[..., 0] > 0.5
    assert inside.any(0).sum() == inside.any(1).sum()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_camera_orientation_is_applied(orientation: int) -> None:
    # the transposition that takes an upright picture to what a camera stores under this tag, by PIL's number
    stored_by = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = scene(40, 40)
    if orientation > 1:
        stored = stored.transpose(Image.Transpose(stored_by[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    torch.testing.assert_close(shown(encoded(stored, exif=exif)), shown(scene(40, 40)), atol=1e-6, rtol=0)


def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (8, 8), (*RED, 0))
    assert (shown(clear) > 0.999).all()
    half = shown(Image.new("RGBA", (8, 8), (0, 0, 0, 128)))
    torch.testing.assert_close(half, torch.full_like(half, 127 / 255), atol=0.01, rtol=0)
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([*RED, 0, 0, 0])
    assert (shown(encoded(palette, transparency=0)) > 0.999).all()
    assert (shown(Image.new("LA", (8, 8), (0, 0))) > 0.999).all()


@pytest.mark.parametrize("mode", ["P", "CMYK", "YCbCr", "RGBA", "L", "LA", "1", "HSV"])
def test_every_colour_mode_is_read(mode: str) -> None:
    black_and_white = Image.new("RGB", (16, 16), "white")
    black_and_white.paste((0, 0, 0), (0, 0, 8, 16))
    seen = shown(black_and_white.convert(mode), 16)
    torch.testing.assert_close(seen, shown(black_and_white, 16), atol=0.02, rtol=0)


def test_sixteen_bits_are_scaled_and_not_cut_off() -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    deep = shown(encoded(Image.fromarray(ramp)), 8)
    expected = torch.from_numpy(ramp / 65535).float()[..., None].expand(-1, -1, 3)
    torch.testing.assert_close(deep, expected, atol=1 / 255, rtol=0)
    other_order = Image.frombytes("I;16B", (8, 8), ramp.astype(">u2").tobytes())
    torch.testing.assert_close(shown(other_order, 8), deep)


@pytest.mark.parametrize("content", [b"", b"not a picture", "half", "garbled"], ids=str)
def test_broken_file_is_named(tmp_path: Path, content: bytes | str) -> None:
    whole = encoded(scene(200, 200), "JPEG" if content == "half" else "PNG")
    broken = {"half": whole[: len(whole) // 2], "garbled": whole[:60] + b"\0" * 400 + whole[460:]}
    file = tmp_path / "holiday.png"
    file.write_bytes(broken[content] if isinstance(content, str) else content)
    with pytest.raises(ValueError, match=r"holiday\.png"):
        ImageProcessor()(file)
    with pytest.raises(ValueError, match=f"{file.stat().st_size} bytes"):
        ImageProcessor()(file.read_bytes())
    if content == "half":
        with Image.open(file) as lazy, pytest.raises(ValueError, match=r"holiday\.png"):
            ImageProcessor()(lazy)


def test_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        ImageProcessor()(tmp_path / "gone.png")


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(8, 8, 3), r"\(8, 8, 3\).*\(3, H, W\)"),
        (torch.zeros(3, 0, 8), r"\(3, 0, 8\)"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), "int64"),
        (torch.full((3, 8, 8), 255.0), "255.*0, 1"),
        (torch.full((3, 8, 8), float("nan")), "nan"),
    ],
)
def test_impossible_tensor_is_named(tensor: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageProcessor()(tensor)


def test_other_objects_are_refused() -> None:
    with pytest.raises(TypeError, match=r"NoneType.*left out"):
        ImageProcessor()(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="floating-point"):
        ImageProcessor()(Image.new("F", (4, 4)))
    with pytest.raises(ValueError, match="size is 0"):
        ImageProcessor(0)


def test_config_rebuilds_it() -> None:
    assert torch.equal(build(ImageProcessor(16).config)(scene()), ImageProcessor(16)(scene()))
