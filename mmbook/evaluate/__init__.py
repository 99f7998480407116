"""Evaluation: metrics, and intervals that tell how far to trust them."""

from mmbook.evaluate.correlation import Agreement, agreement
from mmbook.evaluate.intervals import Interval, interval, paired
from mmbook.evaluate.metrics import classification_metrics, regression_metrics
from mmbook.evaluate.spoken import SpokenReport, spoken_digits

__all__ = [
    "Agreement",
    "Interval",
    "SpokenReport",
    "agreement",
    "classification_metrics",
    "interval",
    "paired",
    "regression_metrics",
    "spoken_digits",
]
