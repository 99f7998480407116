"""Processors: one raw item in, one tensor for a row of a dataset out.

A processor reads whatever people have (a string, a file, an array), refuses with a clear error what it cannot
read, and has a JSON ``config`` so that a saved model brings its own. `mmbook.collate` makes batches of the
rows. Importing this is cheap: torchvision loads at the first picture.
"""

from __future__ import annotations

from mmbook.moved import moved_names
from mmbook.preprocess.audio import AudioProcessor
from mmbook.preprocess.decode_video import read_video
from mmbook.preprocess.image import ImageProcessor
from mmbook.preprocess.text import TextProcessor, WordProcessor, clean, vocabulary_of, words
from mmbook.preprocess.video import VideoProcessor, sample_clips, sample_frames, sample_rate

__all__ = [
    "AudioProcessor", "ImageProcessor", "TextProcessor", "VideoProcessor", "WordProcessor", "clean",
    "read_video", "sample_clips", "sample_frames", "sample_rate", "vocabulary_of", "words",
]  # fmt: skip

__getattr__ = moved_names(__name__)
