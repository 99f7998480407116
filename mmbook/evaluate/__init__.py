"""Evaluation: metrics, and intervals that tell how far to trust them."""

from mmbook.evaluate.intervals import Interval, interval, paired
from mmbook.evaluate.metrics import classification_metrics, regression_metrics

__all__ = ["Interval", "classification_metrics", "interval", "paired", "regression_metrics"]
