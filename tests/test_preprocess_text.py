"""TextProcessor and clean."""

from __future__ import annotations

import subprocess
import sys
import unicodedata

import pytest
import torch

from mmbook.preprocess import TextProcessor, clean
from mmbook.registry import build


@pytest.fixture(scope="module")
def process() -> TextProcessor:
    return TextProcessor()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("  two\n\twords\u00a0here ", "two words here"),
        ("one<br />two<p class='x'>three</p>", "one two three"),
        ("<b>un</b>forget<span style='a'>table</span>", "unforgettable"),
        ("Tom &amp; Jerry &#39;s caf&eacute;", "Tom & Jerry 's café"),
        ("write &lt;b&gt; for bold", "write <b> for bold"),
        ("<!-- hidden --><script>alert(1)</script>seen<style>p {}</style>", "seen"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("I <3 it", "I <3 it"),
        ("", ""),
        ("Great!!! 😀 GREAT", "Great!!! 😀 GREAT"),
    ],
)
def test_clean(raw: str, expected: str) -> None:
    assert clean(raw) == expected


def test_clean_makes_one_form_of_each_letter() -> None:
    composed, decomposed = "café", unicodedata.normalize("NFD", "café")
    assert composed != decomposed and clean(composed) == clean(decomposed)


@pytest.mark.parametrize("text", ["Simple words.", "a &lt; b", "x<br>y", " \u00e9 e\u0301 "])
def test_clean_without_markup_left_is_idempotent(text: str) -> None:
    assert clean(clean(text)) == clean(text)


def test_ids_equal_transformers(process: TextProcessor) -> None:
    from transformers import PreTrainedTokenizerFast

    from mmbook import assets

    theirs = PreTrainedTokenizerFast(tokenizer_file=str(assets.path("minilm-tokenizer")))
    for text in ["An unforgettable film.", "Naïve café, 3.5 stars!", "電影 很 好", "word " * 300]:
        expected = theirs(text, truncation=True, max_length=64)["input_ids"]
        assert process(text).tolist() == expected


def test_ids_begin_and_end_as_bert_expects(process: TextProcessor) -> None:
    ids = process("An unforgettable film.")
    assert ids.dtype == torch.long and ids.dim() == 1
    tokens = process.tokens(ids)
    assert tokens[0] == "[CLS]" and tokens[-1] == "[SEP]" and any(token.startswith("##") for token in tokens)
    assert process.decode(ids) == "an unforgettable film."


def test_empty_text_is_a_text(process: TextProcessor) -> None:
    assert process.tokens(process("")) == ["[CLS]", "[SEP]"]
    assert process.tokens(process("<br/> \n")) == ["[CLS]", "[SEP]"]


def test_long_text_is_cut_and_closed() -> None:
    short = TextProcessor(max_length=5)
    ids = short("one two three four five six seven")
    assert short.tokens(ids) == ["[CLS]", "one", "two", "three", "[SEP]"]
    assert len(TextProcessor(max_length=300)("word " * 290)) == 292, (
        "the file's own limit of 128 does not hold"
    )


@pytest.mark.parametrize("item", [None, 3.0, b"bytes", ["list"]])
def test_not_a_string_is_refused(process: TextProcessor, item: object) -> None:
    with pytest.raises(TypeError, match=f"{type(item).__name__}.*one str"):
        process(item)  # type: ignore[arg-type]


def test_impossible_arguments_are_named(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="max_length is 1"):
        TextProcessor(max_length=1)
    with pytest.raises(FileNotFoundError, match=r"nothing\.json"):
        TextProcessor(str(tmp_path / "nothing.json"))


def test_config_rebuilds_it(process: TextProcessor) -> None:
    again = build(TextProcessor(max_length=9).config)
    assert again.max_length == 9
    assert torch.equal(again("good film"), process("good film"))


def test_import_is_light() -> None:
    code = "import sys, mmbook.preprocess; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"transformers", "torchvision", "torchaudio", "torchmetrics"} & set(loaded)
