"""Words and stop words: what is taken out, what stays, and that the list takes negation along."""

from __future__ import annotations

import pytest

from mmbook.book.written.stop_words import NEGATIONS, STOP_WORDS, remove_stop_words
from mmbook.preprocess import words

CLOSED_CLASSES = {
    "articles": "a an the",
    "pronouns": "i you he she it we they me him her us them my your his its our their who whom which",
    "prepositions": "of in on at by for with from to into over under between through",
    "conjunctions": "and or but if because while although",
    "auxiliaries": "be am is are was were been being have has had do does did can could will would shall "
    "should may might must",
}


@pytest.mark.parametrize("group", CLOSED_CLASSES)
def test_the_closed_classes_are_in_the_list(group: str) -> None:
    assert set(CLOSED_CLASSES[group].split()) <= STOP_WORDS


def test_every_stop_word_is_one_lower_case_word() -> None:
    for word in STOP_WORDS:
        found = words(f"x {word} x")[1:-1]
        assert found in ([word], [word.removeprefix("'")]), word


def test_words_that_carry_feeling_or_topic_are_not_in_the_list() -> None:
    assert not STOP_WORDS & {"good", "bad", "great", "awful", "love", "hate", "film", "funny", "best"}


def test_negations_are_a_part_of_the_list_and_can_be_kept() -> None:
    assert NEGATIONS < STOP_WORDS
    text = "It is not funny, and I didn't laugh."
    assert remove_stop_words(text) == "funny, laugh."
    assert remove_stop_words(text, STOP_WORDS - NEGATIONS) == "not funny, didn't laugh."


@pytest.mark.parametrize("text", ["THE film", "the film", "The  film"])
def test_case_and_runs_of_spaces_do_not_matter(text: str) -> None:
    assert remove_stop_words(text) == "film"


def test_whole_words_only() -> None:
    assert remove_stop_words("theatre, amber, isle and inland") == "theatre, amber, isle inland"


def test_a_curly_apostrophe_is_an_apostrophe() -> None:
    assert remove_stop_words("It’s fun, don’t miss") == "fun, miss"
    assert words("Don’t STOP!") == words("don't stop") == ["don't", "stop"]


def test_nothing_left_is_the_empty_text() -> None:
    assert remove_stop_words("To be or not to be") == ""
    assert remove_stop_words("") == ""


def test_removing_twice_is_removing_once_and_only_takes_words_away() -> None:
    text = "A film that is, by and large, what we were waiting for: 2 hours of fun!"
    once = remove_stop_words(text)
    assert remove_stop_words(once) == once
    assert words(once) == [word for word in words(text) if word not in STOP_WORDS]


def test_words_keep_letters_of_all_kinds_and_drop_the_rest() -> None:
    assert words("Amélie -- 10/10 🙂 'great'") == ["amélie", "10", "10", "great"]
    assert words("... !?") == []


def test_a_string_for_the_list_is_refused() -> None:
    with pytest.raises(ValueError, match="'the'.*set of words"):
        remove_stop_words("a text", "the")
