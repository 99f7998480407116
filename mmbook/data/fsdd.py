"""The Free Spoken Digit Dataset, and any folder of recordings that are named as its are."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmbook.data.files import FileDataset, Skipped
from mmbook.preprocess import AudioProcessor

NAME = re.compile(r"(?P<digit>\d+)_(?P<speaker>[^_]+)_(?P<take>\d+)\.wav", re.IGNORECASE)
RATE = 16_000  # Hz
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
UPSTREAM = "https://github.com/Jakobovski/free-spoken-digit-dataset"


class FSDD(FileDataset):
    """Recordings named ``{digit}_{speaker}_{take}.wav``; row ``i`` is ``{"audio": (T,), "labels", "id"}``.

    The Free Spoken Digit Dataset has 3,000 recordings at 8 kHz by six speakers, most of them with an accent,
    under CC BY-SA 4.0; get it from https://github.com/Jakobovski/free-spoken-digit-dataset. The rate may be
    any; sounds are resampled to 16 kHz and cut at `max_seconds`. What is not so named, has another digit than
    0 to 9, is empty, cut off or no sound is left out: a warning counts them and `skipped` lists them.

    Args:
        folder: with the files in it, or in a subfolder ``recordings``, as in the repository.
        max_seconds: longest sound.

    Attributes:
        labels: ``(N,)`` 0 to 9.
        speakers: ``(N,)`` names.
        skipped: ``(path, reason)`` of each file that was left out.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: a folder without a single recording that can be read.

    Source: Jackson, Souza, Flaks, Pan, Nicolas and Thite 2018, Free Spoken Digit Dataset v1.0.8,
    https://doi.org/10.5281/zenodo.1342401.
    """

    classes = WORDS

    def __init__(self, folder: str | os.PathLike[str], max_seconds: float = 3.0) -> None:
        place = Path(folder)
        if not place.is_dir():
            raise FileNotFoundError(f"there is no folder {place}; clone {UPSTREAM}, or give another")
        if (place / "recordings").is_dir():
            place /= "recordings"
        files = sorted(file for file in place.iterdir() if file.is_file() and file.name[0] != ".")
        if not files:
            raise ValueError(f"{place} is empty; it must hold files such as 7_jackson_32.wav, see {UPSTREAM}")
        rows, misnamed = [], []
        for file in files:
            name = NAME.fullmatch(file.name)
            if name is None:
                misnamed.append(Skipped(str(file), "its name is not {digit}_{speaker}_{take}.wav"))
            elif len(name["digit"]) > 1:
                misnamed.append(Skipped(str(file), f"its digit is {name['digit']}, which is not 0 to 9"))
            else:
                rows.append({"audio": file, "labels": int(name["digit"])})
        super().__init__(rows, {"audio": AudioProcessor(RATE, max_seconds)}, skipped=misnamed)
        self.labels: NDArray[np.int64] = np.array([row["labels"] for row in self.rows])
        self.speakers: NDArray[np.str_] = np.array([row["audio"].name.split("_")[1] for row in self.rows])

    @property
    def clusters(self) -> dict[str, NDArray[np.str_]]:
        """``{"speaker": (N,)}``, as `mmbook.evaluate.interval` takes it."""
        return {"speaker": self.speakers}
