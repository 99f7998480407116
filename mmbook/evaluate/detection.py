"""Scores of detectors, by torchmetrics and pycocotools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from mmbook.extras import need
from mmbook.losses.boxes import corners


def detection_metrics(answers: Sequence[Mapping[str, Tensor]], labels: Tensor) -> dict[str, float]:
    """Mean average precision as COCO counts it: ``map``, ``map_50`` and ``map_75``, from 0 to 1.

    An answer is right where it names the class and its IoU with an object that no better answer took is at
    least 0.5 (``map_50``), 0.75, or ten thresholds from 0.5 to 0.95, averaged (``map``). Sorted by score, the
    answers of a class make a curve of precision against recall; the area under it, averaged over the
    classes, is the score. So the order of the scores counts, and answers of small score cost little.

    Args:
        answers: one a sample, as `mmbook.models.set_detection.SetDetection.answers` gives them: "boxes"
            ``(K, 4)`` left, top, right, bottom, "scores" ``(K,)``, "labels" ``(K,)``.
        labels: ``(B, K, 5)`` class, centre x, centre y, width, height in the same unit; class -1 is padding.

    Raises:
        ValueError: another number of answers than of samples, or no object in any sample.
        ImportError: without pycocotools; names the extra.

    Source: Lin et al. (2014), *Microsoft COCO*, https://arxiv.org/abs/1405.0312.
    """
    need("detection", "detection_metrics")
    from torchmetrics.detection import MeanAveragePrecision

    if len(answers) != len(labels):
        raise ValueError(f"there are {len(answers)} answers for {len(labels)} samples; give one each")
    real = labels[..., 0] >= 0
    if not real.any():
        raise ValueError("no sample has an object, and then precision means nothing; give some that have")
    truth = [
        {"boxes": corners(rows[keep, 1:]), "labels": rows[keep, 0].long()}
        for rows, keep in zip(labels.float(), real, strict=True)
    ]
    score = MeanAveragePrecision(
        box_format="xyxy", backend="pycocotools", max_detection_thresholds=[1, 10, 100]
    )
    score.update([dict(answer) for answer in answers], truth)
    found = score.compute()
    return {key: found[key].item() for key in ("map", "map_50", "map_75")}
