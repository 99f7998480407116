"""Evaluation that cannot flatter: metrics, intervals, control rows, robustness."""

from mmbook.evaluate.bootstrap import bootstrap, bootstrap_paired
from mmbook.evaluate.calibration import Reliability, equal_mass, reliability, reliability_diagram, temperature
from mmbook.evaluate.comparison import Comparison, TestSet, compare, controls
from mmbook.evaluate.correlation import Agreement, agreement
from mmbook.evaluate.corrupt import Dropped, Hiss, MissingAtRandom, MissingWhere, Noisy, deviation
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
from mmbook.evaluate.robustness import curve_plot, robustness_curve
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
from mmbook.evaluate.two_sample import Coverage, TwoSample, mode_coverage, two_sample
from mmbook.evaluate.views import Only, Shuffled, ShuffledLabels
from mmbook.moved import moved_names

__all__ = [
    "ACCURACY",
    "AUROC",
    "CCC",
    "LABEL_ACCURACY",
    "LABEL_NLL",
    "MACRO_F1",
    "MAE",
    "MSE",
    "NLL",
    "Agreement",
    "Comparison",
    "Coverage",
    "Dropped",
    "Hiss",
    "Interval",
    "MissingAtRandom",
    "MissingWhere",
    "Noisy",
    "Only",
    "Reliability",
    "Report",
    "Row",
    "Score",
    "Shuffled",
    "ShuffledLabels",
    "SpokenReport",
    "Statistic",
    "TestSet",
    "TwoSample",
    "agreement",
    "auroc",
    "bootstrap",
    "bootstrap_paired",
    "brier",
    "classification_metrics",
    "classification_report",
    "compare",
    "concordance",
    "confusion_matrix",
    "controls",
    "curve_plot",
    "detection_metrics",
    "deviation",
    "equal_mass",
    "interval",
    "mode_coverage",
    "multilabel_metrics",
    "paired",
    "predict_logits",
    "ranking_metrics",
    "regression_metrics",
    "regression_report",
    "reliability",
    "reliability_diagram",
    "retrieval_metrics",
    "robustness_curve",
    "spoken_digits",
    "temperature",
    "two_sample",
]

__getattr__ = moved_names(__name__)
