"""Processors: one raw item in, one tensor for a row of a dataset out.

A processor reads whatever people have (a string, a file, an array), refuses with a clear error what it cannot
read, and has a JSON ``config`` so that a saved model brings its own. `mmbook.collate` makes batches of the
rows. Importing this is cheap: torchvision and torchaudio load at the first item.
"""

from __future__ import annotations

from mmbook.preprocess.audio import AudioProcessor
from mmbook.preprocess.augment import ImageAugmenter
from mmbook.preprocess.decode_video import read_video
from mmbook.preprocess.encode_video import play, write_video
from mmbook.preprocess.image import ImageProcessor
from mmbook.preprocess.stop_words import NEGATIONS, STOP_WORDS, remove_stop_words
from mmbook.preprocess.text import TextProcessor, clean
from mmbook.preprocess.video import VideoProcessor
from mmbook.preprocess.video_sampling import sample_clips, sample_frames, sample_rate
from mmbook.preprocess.vocabulary import WordProcessor, vocabulary_of
from mmbook.preprocess.voice_augment import VoiceAugmenter
from mmbook.preprocess.words import words

__all__ = [
    "NEGATIONS",
    "STOP_WORDS",
    "AudioProcessor",
    "ImageAugmenter",
    "ImageProcessor",
    "TextProcessor",
    "VideoProcessor",
    "VoiceAugmenter",
    "WordProcessor",
    "clean",
    "play",
    "read_video",
    "remove_stop_words",
    "sample_clips",
    "sample_frames",
    "sample_rate",
    "vocabulary_of",
    "words",
    "write_video",
]
