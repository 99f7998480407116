"""A trained model as one file that runs without mmbook: ONNX, or a program of ``torch.export``."""

from mmbook.app.export.checks import ExportError
from mmbook.app.export.model import FORMATS, export_model

__all__ = ["FORMATS", "ExportError", "export_model"]
