"""What Postgres refuses is replaced at the boundary, and nothing else."""

from __future__ import annotations

import json

import pytest

from store.postgres.values import clean_json, clean_text, json_text


@pytest.mark.parametrize("text", ["", "tab\tnew\nline\\N\\.", "'quotes\"", "😀", "שלום", "\u202eevil", "\ufffe"])
def test_hostile_but_legal_text_is_kept(text: str) -> None:
    assert clean_text(text) == text


def test_nul_and_lone_surrogates_become_the_replacement_character() -> None:
    assert clean_text("a\x00b\ud800c\udfff") == "a\ufffdb\ufffdc\ufffd"


def test_json_texts_are_replaced_at_every_depth_even_in_keys() -> None:
    assert clean_json({"a\x00": [("b\x00", 1)], "c": {"d": "\ud800"}}) == {
        "a\ufffd": [["b\ufffd", 1]],
        "c": {"d": "\ufffd"},
    }


def test_what_json_cannot_say_becomes_null() -> None:
    assert json.loads(json_text([float("nan"), float("inf"), 1.5, True, None])) == [
        None,
        None,
        1.5,
        True,
        None,
    ]
