"""A trained model as one file that runs without mmbook: ONNX, or a program of ``torch.export``."""

from mmbook.app.export.files import FORMATS, example_batch, export_model
from mmbook.app.export.program import ExportError

__all__ = ["FORMATS", "ExportError", "example_batch", "export_model"]
