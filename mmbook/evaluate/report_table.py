"""How a `Report` looks: as a table for a page, readable by a screen reader and in the dark, and as text."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from mmbook.evaluate.intervals import Interval

if TYPE_CHECKING:
    from mmbook.evaluate.report import Report, Row

# No colours but the page's own, light or dark; and no class "dataframe", to which themes give some.
_CELL = (
    "padding:4px 10px;text-align:left;border-bottom:1px solid currentColor;font-variant-numeric:tabular-nums"
)


def columns(report: Report) -> list[tuple[str, str]]:
    """(metric, "value" or "difference") of each column after the name."""
    found = []
    for metric in report.metrics:
        found.append((metric, "value"))
        if any(metric in row.differences for row in report.rows):
            found.append((metric, "difference"))
    return found


def heading(report: Report, metric: str, kind: str) -> str:
    """Text of a column's header."""
    if kind == "difference":
        return f"{metric}: {report.reference} minus this"
    return f"{metric} (lower is better)" if metric in report.lower_is_better else metric


def cell(row: Row, metric: str, kind: str) -> str:
    """Text of one cell; a dash where there is nothing to say."""
    found = (row.values if kind == "value" else row.differences).get(metric)
    if found is None:
        return "–"
    if not isinstance(found, Interval):
        return f"{found:.3f}"
    if kind == "value":
        return str(found)
    mark = "" if found.low <= 0 <= found.high else " *"
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]{mark}"


def as_text(report: Report) -> str:
    """Columns of plain text, the title above, the notes below."""
    kinds = columns(report)
    lines = [["", *(heading(report, *kind) for kind in kinds)]]
    lines += [
        [f"({row.name})" if row.control else row.name, *(cell(row, *kind) for kind in kinds)]
        for row in report.rows
    ]
    if report.ceiling:
        lines.append(["best possible", *_ceilings(report, kinds)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines]
    notes = report.footnotes()
    if any(row.control for row in report.rows):
        notes = ["In parentheses: control rows.", *notes]
    return "\n".join([report.title, *(row.rstrip() for row in rows), *notes])


def as_html(report: Report) -> str:
    """A table with caption and scoped headers; control rows in a body of their own; notes below."""
    kinds = columns(report)
    head = "".join(f'<th scope="col" style="{_CELL}">{escape(heading(report, *kind))}</th>' for kind in kinds)
    methods = [
        _line(row.name, [cell(row, *kind) for kind in kinds]) for row in report.rows if not row.control
    ]
    controls = [_line(row.name, [cell(row, *kind) for kind in kinds]) for row in report.rows if row.control]
    if report.ceiling:
        methods.append(_line("best possible", _ceilings(report, kinds)))
    bodies = [f"<tbody>{''.join(methods)}</tbody>"]
    if controls:
        title = f'<tr><th scope="rowgroup" colspan="{1 + len(kinds)}" style="{_CELL}">Control rows</th></tr>'
        bodies.append(f"<tbody>{title}{''.join(controls)}</tbody>")
    notes = "".join(f'<p style="margin:4px 0">{escape(note)}</p>' for note in report.footnotes())
    return (
        f'<div style="overflow-x:auto" tabindex="0"><table style="border-collapse:collapse;color:inherit">'
        f'<caption style="text-align:left;font-weight:bold;padding:4px 10px">{escape(report.title)}</caption>'
        f'<thead><tr><th scope="col" style="{_CELL}">method</th>{head}</tr></thead>{"".join(bodies)}</table>'
        f"{notes}</div>"
    )


def _line(name: str, cells: list[str]) -> str:
    data = "".join(f'<td style="{_CELL}">{escape(text)}</td>' for text in cells)
    return f'<tr><th scope="row" style="{_CELL};font-weight:normal">{escape(name)}</th>{data}</tr>'


def _ceilings(report: Report, kinds: list[tuple[str, str]]) -> list[str]:
    return [
        f"{report.ceiling[metric]:.3f}" if kind == "value" and metric in report.ceiling else "–"
        for metric, kind in kinds
    ]
