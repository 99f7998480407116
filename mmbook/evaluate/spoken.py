"""How well a model hears spoken digits of people it never met, from a folder of recordings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from mmbook.data.files import Skipped
from mmbook.data.fsdd import FSDD
from mmbook.evaluate.intervals import Interval, interval
from mmbook.evaluate.predicting import predict_logits

if TYPE_CHECKING:
    import pandas as pd


class SpokenReport(NamedTuple):
    """What `spoken_digits` found.

    Attributes:
        speakers: one row a speaker, the hardest first: speaker, recordings, accuracy.
        accuracy: over all recordings, with an interval that tells of other speakers, not only of other
            recordings of these. Its ends are NaN for a single speaker, who says nothing of others.
        confusion: ``(10, 10)`` counts, rows what was said, columns what was heard.
        skipped: ``(path, reason)`` of each file that was left out.
    """

    speakers: pd.DataFrame
    accuracy: Interval
    confusion: NDArray[np.int64]
    skipped: list[Skipped]

    def __str__(self) -> str:
        lines = [
            self.speakers.to_string(index=False, formatters={"accuracy": "{:.3f}".format}),
            f"all {self.confusion.sum()} recordings: {self.accuracy}",
        ]
        if self.skipped:
            lines.append(f"{len(self.skipped)} files skipped, the first: {self.skipped[0].reason}")
        return "\n".join(lines)


def spoken_digits(model: nn.Module, folder: str | os.PathLike[str], batch_size: int = 64) -> SpokenReport:
    """Accuracy by speaker on any folder of files named ``{digit}_{speaker}_{take}.wav``.

    Made for the Free Spoken Digit Dataset (`mmbook.data.FSDD` says where to get it and what is read). Files
    that cannot be used are warned of, counted and listed, and are no part of the scores.

    Args:
        model: reads "audio" alone and has the ten digits as classes, 0 first.
        folder: with the recordings, or with a subfolder ``recordings``.
        batch_size: recordings a forward pass.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no recording that can be read; a model of other modalities or another number of classes.
    """
    import pandas as pd

    names = list(getattr(model, "encoders", ["audio"]))
    if names != ["audio"]:
        raise ValueError(f"the model reads {', '.join(names)}; it must read 'audio' alone")
    data = FSDD(folder)
    logits = predict_logits(model, data, batch_size)
    if logits.shape[1:] != (10,):
        raise ValueError(f"the model has {logits.shape[-1]} classes; it must have the ten digits")
    heard = logits.argmax(dim=1).numpy()
    right = heard == data.labels
    confusion = np.zeros((10, 10), dtype=np.int64)
    np.add.at(confusion, (data.labels, heard), 1)
    table = pd.DataFrame({"speaker": data.speakers, "right": right}).groupby("speaker")["right"]
    speakers = pd.DataFrame({"recordings": table.size(), "accuracy": table.mean()}).reset_index()
    speakers = speakers.sort_values("accuracy", ignore_index=True)
    if len(speakers) > 1:
        accuracy = interval(right, data.clusters)
    else:
        accuracy = Interval(float(right.mean()), float("nan"), float("nan"))
    return SpokenReport(speakers, accuracy, confusion, data.skipped)
