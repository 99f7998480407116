"""Evaluation: metrics, and intervals that tell how far to trust them."""

from mmbook.evaluate.correlation import Agreement, agreement
from mmbook.evaluate.detection import detection_metrics
from mmbook.evaluate.intervals import Interval, interval, paired
from mmbook.evaluate.metrics import classification_metrics, regression_metrics
from mmbook.evaluate.spoken import SpokenReport, spoken_digits
from mmbook.evaluate.two_sample import Coverage, TwoSample, mode_coverage, two_sample

__all__ = [
    "Agreement",
    "Coverage",
    "Interval",
    "SpokenReport",
    "TwoSample",
    "agreement",
    "classification_metrics",
    "detection_metrics",
    "interval",
    "mode_coverage",
    "paired",
    "regression_metrics",
    "spoken_digits",
    "two_sample",
]
