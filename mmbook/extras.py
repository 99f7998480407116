"""The package's extras: what is installed only for those who ask for it."""

from __future__ import annotations

from importlib.util import find_spec

# Extra of pyproject.toml -> the modules that it brings (tests/test_packaging.py compares them).
EXTRAS = {
    "chapters": ("emoji", "hibari", "IPython", "pycocotools", "resvg_py"),
    "detection": ("pycocotools",),
    "train": ("onnx", "onnxruntime", "onnxscript", "tensorboard"),
}


def need(extra: str, what: str, *modules: str) -> None:
    """Refuse to go on where the extra is not installed.

    Args:
        extra: a key of `EXTRAS`.
        what: who needs it, as the subject of the error's sentence.
        modules: those of the extra's modules that are needed; all if none is named.

    Raises:
        ImportError: some are missing; it names them and the command that installs them.
    """
    missing = [name for name in modules or EXTRAS[extra] if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"{what} needs {', '.join(missing)}, which the extra {extra!r} brings: "
            f"pip install 'mmbook[{extra}]'",
            name=missing[0],
        )
