"""Sentences of radiologists' reports on adults' chest X-rays, each with the class of its report.

Real reports of Indiana University's hospitals (Demner-Fushman et al. 2016,
https://doi.org/10.1093/jamia/ocv080, licence CC BY-NC-ND 4.0), names and dates struck out as "XXXX". Two
annotators coded each report by hand; a report's class comes from these codes and not from words that we
search for, so that "no pneumonia" cannot be taken for pneumonia:

- pneumonia: a major code is Pneumonia, Infiltrate, Airspace Disease or Consolidation;
- normal: the only major code is "normal";
- all other reports are left out.

A sentence inherits the class of its report, whether it speaks of it or not: "Heart size is normal." stands in
the reports of patients with pneumonia, too. Many a sentence therefore says little, as in a real record. Each
sentence is used once, however common it is, and one that reports of both classes hold is left out: so what is
here is more varied, and tells the classes apart a little better, than sentences drawn from the reports would.
"""

from __future__ import annotations

import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple
from xml.etree import ElementTree

from mmbook import assets
from mmbook.book.datasets.splits import check_split
from mmbook.seeding import digest

PNEUMONIA = frozenset({"Pneumonia", "Infiltrate", "Airspace Disease", "Consolidation"})
MIN_WORDS, MAX_WORDS = 3, 10
TRAIN, VALID = 0.55, 0.15  # shares of the reports; the rest is for testing

_PLAIN = re.compile(r"[A-Z][A-Za-z ,;:'()/-]*\.")  # letters and marks that can be read aloud, no digits


class ReportSentence(NamedTuple):
    """One sentence, as it was published."""

    text: str
    label: int  # of its report: 0 normal, 1 pneumonia
    report: str  # the first with this sentence, in the order of the splits' draw
    split: str


def report_sentences() -> tuple[ReportSentence, ...]:
    """All usable sentences, each once. A report, and so a patient's visit, is in one split."""
    return _read()[0]


def left_out() -> dict[str, int]:
    """Reason -> how many reports or sentences are not among `report_sentences`."""
    return dict(_read()[1])


@cache
def _read() -> tuple[tuple[ReportSentence, ...], Counter[str]]:
    dropped: Counter[str] = Counter()
    labels: dict[str, set[int]] = {}
    first: dict[str, tuple[str, str]] = {}  # letters -> text and report
    # in an order of chance, so that common sentences do not all go where the lowest numbers go
    for report, root in sorted(_reports(), key=lambda pair: digest("report", pair[0])):
        label = _class(root)
        if label is None:
            dropped["reports of another class"] += 1
            continue
        for text in _sentences(root):
            words = len(text.split())
            if "XXXX" in text:
                dropped["sentences with something struck out"] += 1
            elif not MIN_WORDS <= words <= MAX_WORDS:
                dropped["sentences too short or too long"] += 1
            elif not _PLAIN.fullmatch(text):
                dropped["sentences with digits or signs"] += 1
            else:
                letters = "".join(filter(str.isalpha, text.lower()))
                dropped["repetitions of a sentence"] += letters in first
                first.setdefault(letters, (text, report))
                labels.setdefault(letters, set()).add(label)
    dropped["sentences of both classes"] = sum(len(both) == 2 for both in labels.values())
    kept = (
        ReportSentence(text, min(labels[letters]), report, _split(report))
        for letters, (text, report) in first.items()
        if len(labels[letters]) == 1
    )
    return tuple(kept), dropped


def _reports() -> Iterator[tuple[str, ElementTree.Element]]:
    with tarfile.open(assets.path("xray-reports")) as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is not None and member.name.endswith(".xml"):
                yield member.name.rsplit("/")[-1].removesuffix(".xml"), ElementTree.parse(file).getroot()


def _class(root: ElementTree.Element) -> int | None:
    codes = {(code.text or "").split("/")[0] for code in root.iter("major")}
    return 1 if codes & PNEUMONIA else 0 if codes == {"normal"} else None


def _sentences(root: ElementTree.Element) -> Iterator[str]:
    for part in root.iter("AbstractText"):
        if part.get("Label") in ("FINDINGS", "IMPRESSION"):
            text = re.sub(r"(^|\s)\d+[.)]\s", " ", " ".join((part.text or "").split()))  # "1. " of a list
            yield from filter(None, map(str.strip, re.split(r"(?<=[.!?])\s+", text)))


def _split(report: str) -> str:
    share = digest("report split", report) / 2**64
    return "train" if share < TRAIN else "valid" if share < TRAIN + VALID else "test"


def report_indices(split: str) -> list[int]:
    """Indices into `report_sentences` of those in `split`."""
    check_split(split)
    return [i for i, sentence in enumerate(report_sentences()) if sentence.split == split]
