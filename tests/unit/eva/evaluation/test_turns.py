"""Later turns of held-out conversations become sets of their own, aligned with the turn before."""

from __future__ import annotations

from eva.evaluation.turns import split_turns, with_responses
from eva.prompts.files import FilePrompt
from eva.types import Message

SYSTEM, ONE, TWO = Message("system", "Be brief."), Message("user", "one"), Message("user", "two")


def test_each_turn_is_a_set_and_only_conversations_that_go_on_are_in_it() -> None:
    prompts = [FilePrompt("alone"), FilePrompt("one", context=(SYSTEM,), later=("two", "three"))]
    first, second, third = split_turns("bench", prompts)
    assert (first.name, first.turn, first.follows) == ("bench", 1, None)
    assert list(first.prompts.values()) == prompts
    assert (second.name, second.turn, second.follows) == ("bench-turn-2", 2, "bench")
    assert (third.name, third.turn, third.follows) == ("bench-turn-3", 3, "bench-turn-2")
    assert second.prompts == {1: FilePrompt("two", context=(SYSTEM, ONE))}
    assert third.prompts == {1: FilePrompt("three", context=(SYSTEM, ONE, TWO))}


def test_responses_stand_behind_the_turns_that_they_answer() -> None:
    context = (SYSTEM, ONE, TWO)
    assert with_responses(context, ["a", "b"]) == (
        SYSTEM,
        ONE,
        Message("assistant", "a"),
        TWO,
        Message("assistant", "b"),
    )
    assert with_responses(context, []) == context
