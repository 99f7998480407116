"""Evaluation that cannot flatter: metrics, intervals, control rows, robustness, attribution, saliency."""

from mmbook.evaluate.attention_maps import attention_weights, rollout
from mmbook.evaluate.attribution import Attribution, attribute, shapley
from mmbook.evaluate.bootstrap import bootstrap, bootstrap_paired
from mmbook.evaluate.calibration import Reliability, equal_mass, reliability, reliability_diagram, temperature
from mmbook.evaluate.classification import (
    auroc,
    brier,
    classification_report,
    confusion_matrix,
    multilabel_metrics,
)
from mmbook.evaluate.comparison import Comparison, compare
from mmbook.evaluate.controls import controls
from mmbook.evaluate.correlation import Agreement, agreement
from mmbook.evaluate.corrupt import Dropped, Hiss, Noisy, deviation
from mmbook.evaluate.detection import detection_metrics
from mmbook.evaluate.errors import Errors, browse_errors
from mmbook.evaluate.intervals import Interval, interval, paired
from mmbook.evaluate.metrics import classification_metrics, regression_metrics
from mmbook.evaluate.missing import Missing, MissingWhere
from mmbook.evaluate.predicting import predict_logits
from mmbook.evaluate.regression import concordance, regression_report
from mmbook.evaluate.report import Report, Row
from mmbook.evaluate.retrieval import ranking_metrics, retrieval_metrics
from mmbook.evaluate.robustness import curve_plot, robustness_curve
from mmbook.evaluate.saliency import (
    IncompleteMap,
    by_pixel,
    by_token,
    gradient_x_input,
    integrated_gradients,
    smooth_grad,
)
from mmbook.evaluate.saliency_show import overlay, spectrogram_overlay, words_html
from mmbook.evaluate.sanity import SanityCheck, randomised, sanity_check
from mmbook.evaluate.scores import ACCURACY, AUROC, CCC, MACRO_F1, MAE, MSE, NLL, Score, Statistic
from mmbook.evaluate.spoken import SpokenReport, spoken_digits
from mmbook.evaluate.testset import TestSet
from mmbook.evaluate.two_sample import Coverage, TwoSample, mode_coverage, two_sample
from mmbook.evaluate.views import Only, Shuffled, ShuffledLabels

__all__ = [
    "ACCURACY",
    "AUROC",
    "CCC",
    "MACRO_F1",
    "MAE",
    "MSE",
    "NLL",
    "Agreement",
    "Attribution",
    "Comparison",
    "Coverage",
    "Dropped",
    "Errors",
    "Hiss",
    "IncompleteMap",
    "Interval",
    "Missing",
    "MissingWhere",
    "Noisy",
    "Only",
    "Reliability",
    "Report",
    "Row",
    "SanityCheck",
    "Score",
    "Shuffled",
    "ShuffledLabels",
    "SpokenReport",
    "Statistic",
    "TestSet",
    "TwoSample",
    "agreement",
    "attention_weights",
    "attribute",
    "auroc",
    "bootstrap",
    "bootstrap_paired",
    "brier",
    "browse_errors",
    "by_pixel",
    "by_token",
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
    "gradient_x_input",
    "integrated_gradients",
    "interval",
    "mode_coverage",
    "multilabel_metrics",
    "overlay",
    "paired",
    "predict_logits",
    "randomised",
    "ranking_metrics",
    "regression_metrics",
    "regression_report",
    "reliability",
    "reliability_diagram",
    "retrieval_metrics",
    "robustness_curve",
    "rollout",
    "sanity_check",
    "shapley",
    "smooth_grad",
    "spectrogram_overlay",
    "spoken_digits",
    "temperature",
    "two_sample",
    "words_html",
]
