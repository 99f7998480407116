"""A table of results that carries its controls, its intervals and what it leaves out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmbook.evaluate.intervals import Interval

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Row:
    """One line of a `Report`.

    Attributes:
        name: of the method or control.
        values: metric -> `Interval`, or a number where no interval can be given.
        control: whether it is a control row.
        differences: metric -> interval of the paired difference, the report's reference minus this row.
        constant: whether it is the best constant answer, by the test labels themselves; no control counts
            as beaten unless these are.
    """

    name: str
    values: Mapping[str, Interval | float]
    control: bool = False
    differences: Mapping[str, Interval] = field(default_factory=dict)
    constant: bool = False


@dataclass(frozen=True)
class Report:
    """Methods and control rows side by side; shown as a table in a page and as text elsewhere.

    `compare` makes one, controls included. By hand, give the rows. A difference whose paired interval
    excludes 0 is marked with an asterisk, and the lines under the table name every control that the reference
    is *not* clearly better than. Where the classes' shares differ between training and test, a constant
    answer can beat whatever learned the training shares; so no control counts as beaten unless the rows that
    are `constant` are.

    Args:
        rows: methods and controls, in the order of display.
        title: the table's caption.
        reference: name of the row from which the differences are taken; None: there are none.
        controls: False to leave control rows out, which needs a `reason`.
        reason: printed under the table.
        ceiling: metric -> the best possible value, where it is known.
        lower_is_better: metrics of which less is better.
        notes: further lines under the table.

    Raises:
        ValueError: no rows, two of one name, no control row and no reason, or an unknown reference.
    """

    rows: Sequence[Row]
    title: str = "Comparison"
    reference: str | None = None
    controls: bool = True
    reason: str = ""
    ceiling: Mapping[str, float] = field(default_factory=dict)
    lower_is_better: Sequence[str] = ()
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("rows", "lower_is_better", "notes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        names = [row.name for row in self.rows]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"the rows are called {names}; give at least one, each by a name of its own")
        has = any(row.control for row in self.rows)
        if self.controls and not has:
            raise ValueError(
                "no row is a control; add a constant answer, each modality alone and shuffled ones, as "
                "`compare` does, or say why there are none: controls=False, reason='...'"
            )
        if not self.controls and (has or not self.reason.strip()):
            raise ValueError(
                f"controls is False with {'control rows' if has else 'no reason'}; leave out controls=False, "
                f"or give a reason='...', which is printed under the table"
            )
        if self.reference is not None and self.reference not in names:
            raise ValueError(f"reference is {self.reference!r}; it must be one of {', '.join(names)}")

    @property
    def metrics(self) -> list[str]:
        """All metrics, in the order in which the rows bring them."""
        return list(dict.fromkeys(metric for row in self.rows for metric in row.values))

    def ahead(self, row: Row, metric: str) -> bool:
        """Whether the reference is clearly better than `row` by the difference's interval.

        Over a control only where it is clearly better than the best constant answers, too.
        """
        rivals = [row]
        if row.control:
            rivals += [other for other in self.rows if other.constant and metric in other.differences]
        ends = [other.differences.get(metric) for other in rivals]
        if metric in self.lower_is_better:
            return all(end is not None and end.high < 0 for end in ends)
        return all(end is not None and end.low > 0 for end in ends)

    def marked(self, row: Row, metric: str) -> bool:
        """Whether the difference gets an asterisk: it is clearly worse, or `ahead`."""
        found = row.differences.get(metric)
        if found is None or not found.excludes_zero:
            return False
        better = (found.mean < 0) == (metric in self.lower_is_better)
        return self.ahead(row, metric) if better else True

    def footnotes(self) -> list[str]:
        """What a reader must know: marks, controls that were not beaten, controls that are not there."""
        lines, constant = [], any(row.constant and row.differences for row in self.rows)
        if any(row.differences for row in self.rows):
            lines.append(
                f"Differences: {self.reference} minus the row, on the same samples and seeds. * its 95 % "
                f"interval excludes 0{', and so does that over the best constant answer' * constant}."
            )
        for metric in self.metrics:
            equal = [
                row.name
                for row in self.rows
                if row.control and metric in row.differences and not self.ahead(row, metric)
            ]
            if equal:
                lines.append(f"{metric}: {self.reference} is not clearly better than {', '.join(equal)}.")
        if not self.controls:
            lines.append(f"No control rows: {self.reason}")
        return [*lines, *self.notes]

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    def to_frame(self) -> pd.DataFrame:
        """One line for each row and metric: row, control, metric, mean, low, high, difference, ..., clear.

        Ends are NaN where a value has no interval; `clear` is whether it is `marked`.
        """
        import pandas as pd

        lines = []
        for row in self.rows:
            for metric, value in row.values.items():
                mean, low, high = value if isinstance(value, Interval) else (value, None, None)
                away = row.differences.get(metric)
                line = {"row": row.name, "control": row.control, "metric": metric}
                line |= {"mean": mean, "low": low, "high": high}
                line |= dict(
                    zip(("difference", "difference_low", "difference_high"), away or [None] * 3, strict=True)
                )
                lines.append(line | {"clear": self.marked(row, metric)})
        return pd.DataFrame(lines)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write `to_frame` as CSV, with every digit."""
        self.to_frame().to_csv(path, index=False)

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write all of it as JSON; `from_json` reads it back."""
        Path(path).write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> Report:
        """What `to_json` wrote."""
        found: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        rows = [
            Row(
                row["name"],
                {m: Interval(*v) if isinstance(v, list) else v for m, v in row["values"].items()},
                row["control"],
                {m: Interval(*v) for m, v in row["differences"].items()},
                row.get("constant", False),
            )
            for row in found.pop("rows")
        ]
        return cls(rows, **found)


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


def cell(report: Report, row: Row, metric: str, kind: str) -> str:
    """Text of one cell; a dash where there is nothing to say."""
    found = (row.values if kind == "value" else row.differences).get(metric)
    if found is None:
        return "–"
    if not isinstance(found, Interval):
        return f"{found:.3f}"
    if kind == "value":
        return str(found)
    mark = " *" if report.marked(row, metric) else ""
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]{mark}"


def as_text(report: Report) -> str:
    """Columns of plain text, the title above, the notes below."""
    kinds = columns(report)
    lines = [["", *(heading(report, *kind) for kind in kinds)]]
    lines += [
        [f"({row.name})" if row.control else row.name, *(cell(report, row, *kind) for kind in kinds)]
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
    lines = [(row, _line(row.name, [cell(report, row, *kind) for kind in kinds])) for row in report.rows]
    methods, controls = ([line for row, line in lines if row.control is of] for of in (False, True))
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
