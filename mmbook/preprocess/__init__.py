"""Processors: one raw item in, one tensor for a row of a dataset out.

A processor reads whatever people have (a string, a file, an array), refuses with a clear error what it cannot
read, and has a JSON ``config`` so that a saved model brings its own. `mmbook.collate` makes batches of the
rows. Importing this is cheap: torchvision and torchaudio load at the first item.
"""

from __future__ import annotations

from mmbook.preprocess.audio import AudioProcessor
from mmbook.preprocess.image import ImageProcessor
from mmbook.preprocess.text import TextProcessor, clean

__all__ = ["AudioProcessor", "ImageProcessor", "TextProcessor", "clean"]
