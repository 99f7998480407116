"""Evaluation: metrics, and intervals that tell how far to trust them."""

from mmbook.evaluate.intervals import Interval, bootstrap, paired
from mmbook.evaluate.metrics import classification_metrics, regression_metrics

__all__ = ["Interval", "bootstrap", "classification_metrics", "paired", "regression_metrics"]
