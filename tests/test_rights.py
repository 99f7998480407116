"""The page on rights says what the registry of assets says: no asset more, none less, nothing softened."""

from __future__ import annotations

import re
from importlib.metadata import metadata
from pathlib import Path

import yaml

from mmbook.assets import registry

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "book/appendix/rights.md").read_text(encoding="utf-8")


def test_the_table_is_the_registry() -> None:
    """Every asset has one row, in the registry's order, with its licence and the status of its rights."""
    rows = re.findall(r"^\| `(.+?)` \| .+? \| (.+?) \| (known|unclear) \|$", PAGE, re.MULTILINE)
    assert rows == [(asset.name, asset.licence, asset.rights) for asset in registry().values()]


def test_each_asset_has_its_attribution_and_its_reason() -> None:
    """Below stands, for every asset and for nothing else, whom to credit and why its rights are so."""
    entries = re.findall(r"^`(.+?)`\n: (.+)\n  (.+)$", PAGE, re.MULTILINE)
    expected = [
        (asset.name, f"{asset.attribution.rstrip('.')}.", asset.rights_note) for asset in registry().values()
    ]
    assert entries == expected


def test_the_synthesiser_has_the_licence_the_page_says() -> None:
    """The voices come from a package and not from the registry, so its licence is read off the package."""
    licence = metadata("hibari-tts")["License"]
    assert f"(package `hibari-tts`, {licence}," in PAGE


def test_the_citation_is_that_of_the_citation_file() -> None:
    """Title, version, year and address on the page that says how to cite are those of CITATION.cff."""
    page = (ROOT / "book/appendix/bibliography.md").read_text(encoding="utf-8")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    year = str(citation["date-released"])[:4]
    assert re.findall(r"[Vv]ersion (\d[\d.]*\d)", page) == [citation["version"]] * 2
    assert re.findall(r"title = \{(.+)\}", page) == [citation["title"]]
    assert re.findall(r"url = \{(.+)\}", page) == [citation["url"]] and f"<{citation['url']}>" in page
    assert f"year = {{{year}}}" in page and f"({year})" in page
