"""Say in two lines which notebook, which cell and which error."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat

ANSI = re.compile(r"\x1b\[[0-9;]*m")
RUNNING = ".cell"  # beside the copy: the number of the code cell that last started (tools/kernel_startup.py)


def describe(notebook: Path, copy: Path, log: str) -> str:
    """What went wrong in the executed `copy`; an empty string if nothing did (`log` is empty then)."""
    if not log:
        return ""
    cells = [cell for cell in nbformat.read(copy, as_version=4).cells if cell.cell_type == "code"]
    for number, cell in enumerate(cells, 1):
        for output in cell.outputs:
            if output.output_type == "error":
                return _text(notebook, number, cell, f"{output.ename}: {output.evalue}")
    running = copy.with_suffix(RUNNING)
    number = int(running.read_text() or 0) if running.is_file() else 0
    if number and "DeadKernelError" in log:
        return _text(notebook, number, cells[number - 1], "the kernel died (did memory run out?)")
    if number and "Timeout" in log:
        return _text(notebook, number, cells[number - 1], "no answer within the time limit of a cell")
    lines = [line for line in ANSI.sub("", log).splitlines() if line.strip()]
    return "\n".join([f"  {notebook} could not be run:", *(f"      {line}" for line in lines[-15:])])


def _text(notebook: Path, number: int, cell: nbformat.NotebookNode, error: str) -> str:
    """The notebook, the cell by number and id, the first line of the error and the first line of the cell."""
    first = next((line for line in cell.source.splitlines() if line.strip()), "")
    said = next((line for line in ANSI.sub("", error).splitlines() if line.strip()), error)
    return f"  {notebook}, code cell {number} (id {cell.get('id', 'none')}): {said}\n      {first}"
