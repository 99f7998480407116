"""Pictures changed at random in ways that do not change what is on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmbook.preprocess.image import ImageProcessor
from mmbook.registry import register

if TYPE_CHECKING:
    import os

    from PIL import Image


@register
class ImageAugmenter:
    """A picture and a seed to a tensor ``(1, 3, size, size)``, standardised as `ImageProcessor` does it.

    The middle square is turned, a part of it cut out and resized, perhaps mirrored, and its colours are
    changed. The result depends on picture and seed alone: the same in every worker process and after a
    restart. With epoch and index packed into the seed, training can be resumed exactly. Torch's own random
    state is left as it was.

    Args:
        size: height and width of the result, in pixels.
        scale: least and largest share of the area that is cut out.
        stretch: the part may be up to this many times wider than high, or higher than wide; 1 for squares.
        rotate: largest angle, in degrees, to either side; the corners that come free are white.
        flip: probability of mirroring left and right; 0 where that changes the meaning, as of letters.
        colour: how far brightness, contrast and saturation may move, 0.2 for 80 to 120 %; the hue moves by up
            to a tenth of it, in turns of the colour circle.

    Raises:
        ValueError: an option outside its range.
    """

    def __init__(
        self,
        size: int = 96,
        scale: Sequence[float] = (0.6, 1.0),
        stretch: float = 1.2,
        rotate: float = 15.0,
        flip: float = 0.5,
        colour: float = 0.2,
    ) -> None:
        if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(
                f"scale is {tuple(scale)}; give two shares of the area, 0 < least <= largest <= 1"
            )
        for name, value, low, high in (
            ("stretch", stretch, 1, 10),
            ("rotate", rotate, 0, 180),
            ("flip", flip, 0, 1),
            ("colour", colour, 0, 1),
        ):
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}; it must lie between {low} and {high}")
        self.processor = ImageProcessor(size)
        self.size, self.scale, self.stretch = size, (scale[0], scale[1]), stretch
        self.rotate, self.flip, self.colour = rotate, flip, colour
        self._steps: Any = None

    def __call__(self, image: str | os.PathLike[str] | bytes | Image.Image | Tensor, seed: int) -> Tensor:
        """``(1, 3, size, size)`` float32.

        Args:
            image: whatever `ImageProcessor` takes.
            seed: any integer.

        Raises:
            TypeError: a seed that is no integer.
            ValueError, FileNotFoundError: a picture that cannot be read, as in `ImageProcessor`.
        """
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise TypeError(f"seed is {seed!r}; it must be an integer, such as epoch * len(dataset) + index")
        from torchvision.transforms.v2.functional import center_crop

        rgb = self.processor.read(image)
        rgb = center_crop(rgb, [min(rgb.shape[1:])])
        with torch.random.fork_rng(devices=[]):
            # not torch.manual_seed, which would seed the GPUs, too, for good
            torch.default_generator.manual_seed(seed % 2**63)
            rgb = self.steps(rgb)
        return self.processor(rgb.clamp(0, 1))  # of the right size already: only standardised

    @property
    def steps(self) -> Any:
        """The torchvision transforms, made at first use."""
        if self._steps is None:
            from torchvision.transforms import v2

            colour = dict.fromkeys(("brightness", "contrast", "saturation"), self.colour)
            self._steps = v2.Compose(
                [
                    # inverted, so that white is 0: with a fill of 1, bilinear rotation mixes black into
                    # the border and draws a hairline around the picture
                    v2.RandomInvert(1.0),
                    v2.RandomRotation(self.rotate, v2.InterpolationMode.BILINEAR),
                    v2.RandomInvert(1.0),
                    v2.RandomResizedCrop(
                        self.size, self.scale, (1 / self.stretch, self.stretch), antialias=True
                    ),
                    v2.RandomHorizontalFlip(self.flip),
                    v2.ColorJitter(**colour, hue=self.colour / 10),
                ]
            )
        return self._steps
