"""The report: complete, readable by people, screen readers and programs, and unable to hide its controls."""

from html.parser import HTMLParser

import pandas as pd
import pytest

from mmbook.evaluate import Interval, Report, Row

ROWS = [
    Row("ours <b>", {"accuracy": Interval(0.8, 0.75, 0.85), "nll": Interval(0.5, 0.4, 0.6), "params": 12.0}),
    Row(
        "late",
        {"accuracy": Interval(0.7, 0.6, 0.8), "nll": Interval(0.9, 0.8, 1.0)},
        differences={"accuracy": Interval(0.1, -0.01, 0.21), "nll": Interval(-0.4, -0.5, -0.3)},
    ),
    Row(
        "majority class",
        {"accuracy": Interval(0.5, 0.45, 0.55), "nll": Interval(0.69, 0.68, 0.7)},
        control=True,
        differences={"accuracy": Interval(0.3, 0.2, 0.4), "nll": Interval(-0.2, -0.3, -0.1)},
    ),
    Row(
        "only text",
        {"accuracy": Interval(0.79, 0.74, 0.84), "nll": Interval(0.4, 0.3, 0.5)},
        control=True,
        differences={"accuracy": Interval(0.01, -0.05, 0.07), "nll": Interval(0.1, 0.05, 0.15)},
    ),
]


def report(**changes):
    options = {
        "title": "Posts & feelings",
        "reference": "ours <b>",
        "ceiling": {"accuracy": 0.9},
        "lower_is_better": ["nll"],
        "notes": ["500 posts."],
    }
    return Report(ROWS, **(options | changes))


class Table(HTMLParser):
    """Rows of a table, scopes of its headers, its caption, and whether all tags close."""

    def __init__(self, text):
        super().__init__()
        self.open, self.rows, self.scopes, self.caption = [], [], [], ""
        self.feed(text)
        assert not self.open, "every tag that opens must close"

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
        if tag == "th":
            self.scopes.append(dict(attributes).get("scope"))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("th", "td"):
            self.rows[-1][-1] += data
        if self.open and self.open[-1] == "caption":
            self.caption += data


def test_the_table_is_accessible_and_has_no_colours_of_its_own():
    text = report()._repr_html_()
    table = Table(text)
    assert table.caption == "Posts & feelings"
    assert None not in table.scopes and {"col", "row", "rowgroup"} == set(table.scopes)
    assert "ours <b>" in [row[0] for row in table.rows], "names are escaped, not interpreted"
    widths = {len(row) for row in table.rows}
    assert widths == {6, 1}, "all rows are equally wide, but the heading of the controls"
    assert "#" not in text and "rgb" not in text and "dataframe" not in text and "background" not in text
    assert "color:" not in text.replace("color:inherit", "")


def test_text_and_table_say_the_same():
    table, text = Table(report()._repr_html_()), str(report())
    for row in table.rows:
        assert all(cell in text for cell in row if cell not in ("method", "Control rows"))
    assert text.startswith("Posts & feelings\n") and "(majority class)" in text and "500 posts." in text


def test_only_differences_that_exclude_zero_are_marked():
    frame = report().to_frame().set_index(["row", "metric"])
    assert frame.clear.to_dict() == {
        ("ours <b>", "accuracy"): False,
        ("ours <b>", "nll"): False,
        ("ours <b>", "params"): False,
        ("late", "accuracy"): False,
        ("late", "nll"): True,
        ("majority class", "accuracy"): True,
        ("majority class", "nll"): True,
        ("only text", "accuracy"): False,
        ("only text", "nll"): True,
    }
    lines = {line.split("  ")[0]: line for line in str(report()).splitlines()}
    assert lines["late"].count("*") == 1 and lines["(majority class)"].count("*") == 2


def test_no_control_counts_as_beaten_unless_the_best_constant_answer_is():
    best = Row(
        "constant", {"accuracy": Interval(0.8, 0.7, 0.9)}, True, {"accuracy": Interval(0, -0.1, 0.1)}, True
    )
    table = Report([*ROWS, best], reference="ours <b>", lower_is_better=["nll"])
    majority = table.rows[2]
    assert majority.differences["accuracy"].excludes_zero and not table.marked(majority, "accuracy")
    assert "ours <b> is not clearly better than majority class, only text, constant." in str(table)
    assert table.marked(majority, "nll"), "the constant has no such column"
    beaten = Row("constant", best.values, True, {"accuracy": Interval(0.2, 0.1, 0.3)}, True)
    assert Report([*ROWS, beaten], reference="ours <b>").marked(majority, "accuracy")


def test_an_unknown_interval_is_never_marked():
    nan = float("nan")
    row = Row("one voice", {"accuracy": Interval(0.5, nan, nan)}, True, {"accuracy": Interval(0.3, nan, nan)})
    table = Report([ROWS[0], row], reference="ours <b>")
    assert "*" not in str(table).splitlines()[2] and "not clearly better than one voice" in str(table)


def test_controls_that_are_not_beaten_are_named_also_where_less_is_better():
    notes = report().footnotes()
    assert "accuracy: ours <b> is not clearly better than only text." in notes
    assert "nll: ours <b> is not clearly better than only text." in notes, "clearly different, but worse"
    assert not any("majority class" in note for note in notes)


def test_a_report_without_controls_is_refused_unless_told_why():
    with pytest.raises(ValueError, match="no row is a control"):
        Report(ROWS[:2])
    with pytest.raises(ValueError, match="no reason"):
        Report(ROWS[:2], controls=False, reason=" ")
    with pytest.raises(ValueError, match="with control rows"):
        Report(ROWS, controls=False, reason="they look bad")
    told = Report(ROWS[:2], controls=False, reason="they are in table 3")
    assert "No control rows: they are in table 3" in str(told)
    assert "No control rows: they are in table 3" in told._repr_html_()


def test_json_round_trip(tmp_path):
    for one in (report(), Report(ROWS[:2], controls=False, reason="a single dataset")):
        one.to_json(tmp_path / "report.json")
        back = Report.from_json(tmp_path / "report.json")
        assert back == one and str(back) == str(one) and back._repr_html_() == one._repr_html_()


def test_csv_round_trip(tmp_path):
    report().to_csv(tmp_path / "report.csv")
    back = pd.read_csv(tmp_path / "report.csv")
    pd.testing.assert_frame_equal(back, report().to_frame(), check_dtype=False, check_exact=True)
    assert len(back) == 9 and list(back.columns)[:3] == ["row", "control", "metric"]


def test_ceiling_is_shown_only_where_it_is_known():
    line = next(line for line in str(report()).splitlines() if line.startswith("best possible"))
    assert "0.900" in line and line.count("–") == 4
    assert "best possible" not in str(report(ceiling={}))


def test_names_are_checked():
    with pytest.raises(ValueError, match="name of its own"):
        Report([*ROWS, ROWS[2]])
    with pytest.raises(ValueError, match="'theirs'.*ours"):
        report(reference="theirs")
    with pytest.raises(ValueError, match="at least one"):
        Report([])
