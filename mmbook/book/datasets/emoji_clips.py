"""Short films of one emoji that moves, with a sound: made so that the order of the frames decides.

A clip has four cyclic quantities: the emoji's place across and down (what leaves on one side comes in on the
other), its size (what has grown to the most starts small again) and its angle. Each starts anywhere on its
cycle with equal chance, and the action is which of the four runs, and which way. So by construction:

- any single frame has the same distribution under all eight actions: nobody can do better than 1/8 from it;
- a clip run backwards is a clip of the opposite action, equally likely: from all frames without their order
  nobody can do better than 1/2, right about the quantity and guessing the way;
- the sound glides up where the motion runs forwards and down where it runs backwards, whatever the quantity:
  from it alone nobody can do better than 1/4;
- frames in their order tell the action, and so do frames without order together with the sound. No label is
  wrong.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from mmbook.book.datasets.emoji_drawings import drawn
from mmbook.book.datasets.splits import check_split, split_of_position
from mmbook.preprocess.image import IMAGENET_MEAN
from mmbook.seeding import digest, stream

if TYPE_CHECKING:
    from IPython.display import HTML

QUANTITIES = ("across", "down", "size", "angle")
ACTIONS = (
    "moves left",
    "moves right",
    "moves up",
    "moves down",
    "shrinks",
    "grows",
    "turns anticlockwise",
    "turns clockwise",
)
# The best accuracy that is possible from ...
CEILINGS = {"one frame": 1 / 8, "frames without order": 1 / 2, "sound": 1 / 4, "frames in order": 1.0}

SIZES = {"train": 1600, "valid": 400, "test": 800}
FRAMES, RATE = 16, 8.0  # frames, and frames a second
AUDIO_RATE = 16_000  # Hz
SPEEDS = 0.5, 1.25  # cycles in a clip: always less than half a cycle a frame, so that the way can be seen
SCALES = 0.3, 0.6  # smallest and largest side of the emoji, as a share of the picture's
MODALITIES = ("video", "audio")
PLAIN = 255 * torch.tensor(IMAGENET_MEAN)[:, None, None]

# Animals, food, and what stands on streets: code points from, to.
RANGES = (
    (0x1F400, 0x1F43F),
    (0x1F980, 0x1F9AE),
    (0x1F345, 0x1F37F),
    (0x1F680, 0x1F6FC),
    (0x1F950, 0x1F96F),
)
# Those which look alike when turned; tests/test_emoji_clips.py measures it for all others.
ROUND = "🛑🚫🛟🥖🐽🚥🚦🥜🍖🥔🍥🚪🛞🥘🥚🍅🍪🍈🚸🐛🍊"


class Clip(NamedTuple):
    """One clip as a person meets it."""

    frames: Tensor  # (16, 3, S, S) uint8
    sound: NDArray[np.float32]  # (T,) in [-1, 1]
    rate: float  # frames a second
    audio_rate: int  # Hz
    action: str
    label: int  # its place in ACTIONS
    emoji: str  # the character
    speed: float  # cycles in the clip


class EmojiClips(Dataset[dict[str, Any]]):
    """A split of the clips; row ``i`` is ``{"video": (16, 3, size, size), "audio": (32000,), ...}``.

    The frames, 8 a second, are standardised as `VideoProcessor` does; the sound has 16 kHz. Each action
    occurs once in every eight rows. Splits share no emoji. The drawings are Twemoji's (CC BY 4.0); everything
    else is made, as a pure function of (seed, split, index).

    Args:
        split: "train", "valid" or "test".
        count: number of clips; None for 1,600, 400 and 800. A smaller set is the beginning of a larger one.
        seed: of every draw.
        size: height and width of the frames, in pixels; even.
        plain: True for one grey ground in all clips, which standardisation turns into zeros; else each has
            its own colour, and half of them soft patches. A small network learns the plain ones much faster.
        modalities: which of "video" and "audio" a row holds.

    Raises:
        ValueError: an unknown split or modality, a count below 1, a size that is odd or below 16.
    """

    classes = ACTIONS

    def __init__(
        self,
        split: str = "train",
        count: int | None = None,
        seed: int = 0,
        size: int = 48,
        plain: bool = False,
        modalities: Sequence[str] = MODALITIES,
    ) -> None:
        self.split, self.seed, self.size, self.plain = check_split(split), seed, size, plain
        self.count = SIZES[split] if count is None else count
        self.modalities = tuple(modalities)
        if self.count < 1 or size < 16 or size % 2:
            raise ValueError(f"count is {count} and size {size}; give at least 1, and an even size from 16")
        for name in self.modalities:
            if name not in MODALITIES:
                raise ValueError(f"modality is {name!r}; it must be one of {', '.join(MODALITIES)}")
        self.labels = self._dealt("label", len(ACTIONS))
        self._chars = emoji_of(split)
        self._which = self._dealt("emoji", len(self._chars))

    def _dealt(self, what: str, among: int) -> NDArray[np.int64]:
        """``(count,)`` numbers below `among`: all are used before one is used again."""
        rounds = -(-self.count // among)
        order = [stream("clips", self.seed, self.split, what, r).permutation(among) for r in range(rounds)]
        return np.concatenate(order)[: self.count]

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        from mmbook.preprocess import VideoProcessor

        clip = self.raw(index)
        made = {
            "video": lambda: VideoProcessor(self.size, FRAMES)(clip.frames),
            "audio": lambda: torch.from_numpy(clip.sound),
        }
        row: dict[str, Any] = {name: made[name]() for name in self.modalities}
        return row | {"labels": clip.label, "id": range(len(self))[index]}

    def raw(self, index: int) -> Clip:
        """Clip `index` before any preprocessing."""
        index = range(len(self))[index]  # IndexError where it should be, and negative indices
        random = stream("clips", self.seed, self.split, index)
        label, char = int(self.labels[index]), self._chars[self._which[index]]
        start, speed = random.uniform(size=4), random.uniform(*SPEEDS)
        ground = PLAIN.expand(3, self.size, self.size) if self.plain else background(random, self.size)
        frames = render(char, phases(label, start, speed), ground)
        sound = glide(random, speed if label % 2 else -speed)
        return Clip(frames, sound, RATE, AUDIO_RATE, ACTIONS[label], label, char, speed)

    def show(self, index: int) -> HTML:
        """Clip `index` as a player, with the answer behind a fold."""
        from IPython.display import HTML

        from mmbook.book.film import play

        clip = self.raw(index)
        name = f"An emoji, {clip.emoji}, on a coloured ground, and a gliding tone"
        player = play(clip.frames, clip.rate, clip.sound, clip.audio_rate, name).data
        return HTML(f"{player}<details><summary>What does it do?</summary>It {clip.action}.</details>")

    @property
    def clusters(self) -> dict[str, NDArray[np.int64]]:
        """``{"emoji": (N,)}``: which emoji each clip shows. Clips that share one are not independent."""
        return {"emoji": self._which.copy()}


@cache
def emoji_of(split: str) -> tuple[str, ...]:
    """The emoji of `split`: 60 % train, 10 % valid, 30 % test, by a hash of the character."""
    chars = [chr(c) for low, high in RANGES for c in range(low, high + 1) if f"{c:x}" in drawn("twemoji")]
    chars = sorted((char for char in chars if char not in ROUND), key=lambda char: digest("clips", char))
    places = [split_of_position(i, len(chars), train=0.6, valid=0.1) for i in range(len(chars))]
    return tuple(char for char, place in zip(chars, places, strict=True) if place == split)


def phases(label: int, start: NDArray[np.float64], speed: float) -> NDArray[np.float64]:
    """Where each quantity stands in each frame: ``(16, 4)``, in cycles.

    Args:
        label: the action.
        start: ``(4,)`` in the first frame.
        speed: cycles in a clip.
    """
    found = np.tile(start, (FRAMES, 1))
    found[:, label // 2] += (1 if label % 2 else -1) * speed * np.arange(FRAMES) / FRAMES
    return found % 1


def render(char: str, phase: NDArray[np.float64], ground: Tensor) -> Tensor:
    """Frames ``(T, 3, S, S)`` uint8 of an emoji on `ground` ``(3, S, S)``, at the phases ``(T, 4)``.

    The drawing is looked up backwards: for each pixel of a frame, where in the drawing does it lie?
    """
    size = ground.shape[-1]
    across, down, grown, turned = torch.tensor(phase, dtype=torch.float32).T[:, :, None, None]  # (T, 1, 1)
    pixel = (torch.arange(size) + 0.5) / size
    x = (pixel - across + 0.5) % 1 - 0.5  # (T, 1, S): from the centre, the shorter way round
    y = ((pixel[:, None] - down + 0.5) % 1) - 0.5  # (T, S, 1)
    half = SCALES[0] * (SCALES[1] / SCALES[0]) ** grown / 2
    cos, sin = (2 * torch.pi * turned).cos(), (2 * torch.pi * turned).sin()
    place = torch.stack([(x * cos + y * sin) / half, (y * cos - x * sin) / half], dim=-1)  # (T, S, S, 2)
    drawing = premultiplied(char).expand(len(phase), -1, -1, -1)
    seen = F.grid_sample(drawing, place, align_corners=False)  # zero, and so transparent, outside of it
    return (seen[:, :3] + (1 - seen[:, 3:]) * ground).clamp(0, 255).round().to(torch.uint8)


@cache
def premultiplied(char: str) -> Tensor:
    """The drawing ``(4, 40, 40)``: red, green and blue in [0, 255] times opacity, and opacity in [0, 1]."""
    picture = Image.open(io.BytesIO(drawn("twemoji")[f"{ord(char):x}"])).convert("RGBA")
    picture = picture.crop(picture.getchannel("A").getbbox())
    canvas = Image.new("RGBA", (max(picture.size),) * 2)
    canvas.paste(picture, ((canvas.width - picture.width) // 2, (canvas.height - picture.height) // 2))
    rgba = torch.from_numpy(np.asarray(canvas, dtype=np.float32)).movedim(-1, 0)
    opacity = rgba[3:] / 255
    made = torch.cat([rgba[:3] * opacity, opacity])[None]
    return F.interpolate(made, (40, 40), mode="bilinear", antialias=True)[0]


def background(random: np.random.Generator, size: int) -> Tensor:
    """A still ground ``(3, size, size)`` in [0, 255]: one colour, or in half of the cases soft patches."""
    colour = torch.tensor(random.uniform(60, 250, (3, 1, 1)), dtype=torch.float32)
    patches = torch.tensor(random.normal(0, 25, (1, 3, 6, 6)), dtype=torch.float32)
    if random.random() < 0.5:
        return colour.expand(3, size, size)
    return (colour + F.interpolate(patches, (size, size), mode="bicubic")[0]).clamp(0, 255)


def glide(random: np.random.Generator, octaves: float) -> NDArray[np.float32]:
    """A tone of two seconds ``(32000,)`` whose pitch moves evenly by `octaves`, in noise.

    Pitch in the middle 300 to 800 Hz, noise 3 to 20 dB below the tone.
    """
    seconds = FRAMES / RATE
    time = np.arange(int(seconds * AUDIO_RATE)) / AUDIO_RATE / seconds  # 0 to 1
    pitch = np.exp2(random.uniform(np.log2(300), np.log2(800)) + octaves * (time - 0.5))  # Hz
    turns = 2 * np.pi * np.cumsum(pitch) / AUDIO_RATE + random.uniform(0, 2 * np.pi)
    tone = np.sin(turns) + 0.3 * np.sin(2 * turns)
    noise = random.normal(size=len(time)) * tone.std() * 10 ** (-random.uniform(3, 20) / 20)
    sound = (tone + noise) * np.minimum(1, 20 * np.minimum(time, 1 - time))  # faded in and out
    return (sound * random.uniform(0.2, 0.9) / np.abs(sound).max()).astype(np.float32)
