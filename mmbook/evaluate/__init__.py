"""Evaluation that cannot flatter: metrics, intervals, control rows, robustness."""

from mmbook.evaluate.bootstrap import bootstrap, bootstrap_paired
from mmbook.evaluate.calibration import Reliability, equal_mass, reliability, reliability_diagram, temperature
from mmbook.evaluate.comparison import Comparison, TestSet, compare, controls
from mmbook.evaluate.intervals import Interval, interval, paired
from mmbook.evaluate.metrics import (
    auroc,
    brier,
    classification_metrics,
    classification_report,
    concordance,
    confusion_matrix,
    detection_metrics,
    multilabel_metrics,
    regression_metrics,
    regression_report,
)
from mmbook.evaluate.predicting import predict_logits
from mmbook.evaluate.report import Report, Row
from mmbook.evaluate.retrieval import ranking_metrics, retrieval_metrics
from mmbook.evaluate.scores import (
    ACCURACY,
    AUROC,
    CCC,
    LABEL_ACCURACY,
    LABEL_NLL,
    MACRO_F1,
    MAE,
    MSE,
    NLL,
    Score,
    Statistic,
)
from mmbook.evaluate.spoken import SpokenReport, spoken_digits
from mmbook.evaluate.two_sample import TwoSample, two_sample
from mmbook.evaluate.views import MissingAtRandom, Only, Shuffled, ShuffledLabels
from mmbook.moved import moved_names

__all__ = [
    "ACCURACY", "AUROC", "CCC", "LABEL_ACCURACY", "LABEL_NLL", "MACRO_F1", "MAE", "MSE", "NLL", "Comparison",
    "Interval", "MissingAtRandom", "Only", "Reliability", "Report", "Row", "Score", "Shuffled",
    "ShuffledLabels", "SpokenReport", "Statistic", "TestSet", "TwoSample", "auroc", "bootstrap",
    "bootstrap_paired", "brier", "classification_metrics", "classification_report", "compare", "concordance",
    "confusion_matrix", "controls", "detection_metrics", "equal_mass", "interval", "multilabel_metrics",
    "paired", "predict_logits", "ranking_metrics", "regression_metrics", "regression_report", "reliability",
    "reliability_diagram", "retrieval_metrics", "spoken_digits", "temperature", "two_sample",
]  # fmt: skip

__getattr__ = moved_names(__name__)
