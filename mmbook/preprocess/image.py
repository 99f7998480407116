"""Pictures: decoded, made RGB, resized, cropped, normalised."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmbook.registry import register

if TYPE_CHECKING:
    from PIL import Image

# Mean and standard deviation of red, green and blue over ImageNet's training pictures, in [0, 1]. Networks
# pretrained there expect inputs standardised by these.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@register
class ImageProcessor:
    """A picture to a tensor ``(1, 3, size, size)`` float32, standardised as ImageNet's: a video of one frame.

    Takes a file's path, a file's bytes, a PIL image, or a tensor ``(3, H, W)``, uint8 or float in [0, 1]. The
    camera's orientation is applied, transparency is laid on white, grey and 16-bit pictures become 8-bit RGB.
    The middle square is cut out and resized; resizing the whole to a square would squash it.

    Args:
        size: height and width, in pixels.
    """

    def __init__(self, size: int = 96) -> None:
        if size < 1:
            raise ValueError(f"size is {size}; it must be at least 1 pixel")
        self.size = size

    def __call__(self, image: str | os.PathLike[str] | bytes | Image.Image | Tensor) -> Tensor:
        """``(1, 3, size, size)`` float32.

        Raises:
            FileNotFoundError: no such file.
            ValueError: a file that is empty, cut off or no picture (the message has its name); a tensor of
                another shape, type or range.
            TypeError: another kind of object.
        """
        from torchvision.transforms.v2 import functional as F

        rgb = self.read(image)  # (3, H, W)
        # cropped first: resized first, a strip of 10 by 100,000 pixels would fill the memory
        rgb = F.center_crop(rgb, [min(rgb.shape[1:])])
        rgb = F.resize(rgb, [self.size, self.size], antialias=True)
        return F.normalize(rgb, list(IMAGENET_MEAN), list(IMAGENET_STD))[None]

    def undo(self, image: Tensor) -> Tensor:
        """``(1, 3, H, W)`` or ``(3, H, W)`` back to a picture ``(H, W, 3)`` in [0, 1], as imshow takes it."""
        mean, std = image.new_tensor(IMAGENET_MEAN), image.new_tensor(IMAGENET_STD)
        rgb = image.reshape(image.shape[-3:]).permute(1, 2, 0)
        return (rgb * std + mean).clamp(0, 1)

    def read(self, image: object) -> Tensor:
        """What ``__call__`` takes, as it is: ``(3, H, W)`` float in [0, 1]."""
        from PIL import Image
        from torchvision.transforms.v2 import functional as F

        if isinstance(image, Tensor):
            return unit_range(check_pixels(image, "picture", "(3, H, W)"))
        if isinstance(image, Image.Image):
            rgb = _decode(image, getattr(image, "filename", "") or "the PIL image")
        elif isinstance(image, bytes):
            rgb = _decode(io.BytesIO(image), f"{len(image)} bytes")
        elif isinstance(image, str | os.PathLike):
            if not Path(image).is_file():
                raise FileNotFoundError(f"no picture file at {os.fspath(image)}")
            rgb = _decode(image, os.fspath(image))
        else:
            raise TypeError(
                f"ImageProcessor got {type(image).__name__}; it takes a path, bytes, a PIL image or a "
                f"tensor (3, H, W). A picture that is missing is left out of the row"
            )
        return unit_range(F.pil_to_tensor(rgb))


def to_rgb(image: Image.Image) -> Image.Image:
    """`image` upright, in 8-bit RGB, transparency laid on white.

    Raises:
        ValueError: a picture of floating-point numbers, whose range PIL does not say.
    """
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError(
            "a floating-point picture has no known range; give a tensor (3, H, W) scaled to [0, 1]"
        )
    if image.mode.startswith("I"):  # 16 bits a pixel; PIL's own convert cuts off at 255 instead of scaling
        # read as numbers first: "I;16B" stores them the other way round
        image = image.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def _decode(source: str | os.PathLike[str] | io.BytesIO | Image.Image, name: str) -> Image.Image:
    from PIL import Image, ImageFile

    # where PIL has been told to fill up what is cut off, it does so with grey
    told, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    try:
        if isinstance(source, Image.Image):  # its pixels may still be in the file
            return to_rgb(source)
        with Image.open(source) as image:
            if image.format != "PNG":
                return to_rgb(image)
            image.verify()  # decoding does not look at the checksums of the pixels
        with Image.open(source) as image:
            return to_rgb(image)
    # PIL reports broken files in as many ways as there are formats
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"cannot read a picture from {name}: {error}. Replace the file or leave it out"
        ) from error
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = told


def check_pixels(pixels: Tensor, name: str, shape: str) -> Tensor:
    """`pixels` themselves, if they are uint8, or float in [0, 1].

    Args:
        pixels: a picture ``(3, H, W)`` or a video ``(T, 3, H, W)``.
        name: "picture" or "video".
        shape: the one they must have, for the message.

    Raises:
        ValueError: another shape, type or range; NaN.
    """
    if pixels.dim() != shape.count(",") + 1 or pixels.shape[-3] != 3 or 0 in pixels.shape:
        raise ValueError(f"the {name} is a tensor of shape {tuple(pixels.shape)}; it must be {shape}")
    if pixels.dtype == torch.uint8:
        return pixels
    if not pixels.is_floating_point():
        raise ValueError(f"the {name} is a tensor of {pixels.dtype}; give uint8, or float in [0, 1]")
    low, high = pixels.min().item(), pixels.max().item()
    if not (low >= 0 and high <= 1):  # this way round, NaN is refused as well
        raise ValueError(f"the {name} runs from {low:g} to {high:g}; a float {name} must lie in [0, 1]")
    return pixels


def unit_range(pixels: Tensor) -> Tensor:
    """uint8 to float32 in [0, 1]; floats, which have that range already, to float32."""
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()
