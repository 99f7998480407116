"""A saved model on files: what it says about each, and how often it is right."""

from mmbook.predict.answers import Written, predict_files, predict_to_csv
from mmbook.predict.labelled import files_dataset

__all__ = ["Written", "files_dataset", "predict_files", "predict_to_csv"]
