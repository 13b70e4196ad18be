"""The words in which the playground's creator is asked, and how its replies are read."""

from __future__ import annotations

import random

import pytest

from workers.playground.operators import OPERATORS
from workers.playground.tasks import heldout, is_reserved
from workers.playground.world import parse
from workers.playground.written_prompts import (
    RESERVED,
    UNREADABLE,
    WORDS,
    draw_writing_lesson,
    instruction,
    read_prompt,
)

PARENT = "Take k d b p: reverse, then sort."


def test_every_operator_has_a_word_of_its_own() -> None:
    assert {*WORDS} == {*OPERATORS} and len({*WORDS.values()}) == len(WORDS)
    assert instruction(PARENT, "reasoning") == f"then ; {PARENT}"
    with pytest.raises(ValueError, match="unknown operator 'mix': use one of"):
        instruction(PARENT, "mix")


def test_a_reply_is_read_as_a_tokenizer_joins_its_words() -> None:
    assert read_prompt(" Take k d b p : reverse , then add c .") == ("Take k d b p: reverse, then add c.", None)
    assert read_prompt("reverse : p b d k")[1] == UNREADABLE
    assert read_prompt("")[1] == UNREADABLE
    held_out = heldout(per_set=1)["hard"][0]
    assert read_prompt(held_out) == (held_out, RESERVED)


def test_lessons_are_children_that_the_rules_have_made_and_none_is_held_out() -> None:
    rng, again = random.Random(0), random.Random(0)
    for _ in range(50):
        asked, written = draw_writing_lesson(rng)
        assert (asked, written) == draw_writing_lesson(again)
        word, _, parent = asked.partition(" ; ")
        assert word in WORDS.values() and written != parent and parse(written)
        assert not is_reserved(parent) and not is_reserved(written)
