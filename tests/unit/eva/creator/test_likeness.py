"""How much children repeat: siblings and earlier prompts count, ancestors and descendants do not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from eva.creator.likeness import likeness_of
from eva.creator.novelty import scope
from eva.measures.minhash import MinHashIndex
from eva.types import Message, Prompt

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def text(*changed: int) -> str:
    return " ".join("other" + str(place) if place in changed else word for place, word in enumerate(WORDS))


def index_of(*prompts: Prompt) -> MinHashIndex:
    index = MinHashIndex(0.95)
    index.extend([prompt.text for prompt in prompts], [scope(prompt.context) for prompt in prompts])
    return index


SEED, OTHER = Prompt(0, text(), root=0), Prompt(1, "an altogether different question about rivers and lakes", root=1)
PARENTS = {0: None, 1: None}


def test_a_child_is_measured_against_what_it_does_not_descend_from() -> None:
    near_seed = Prompt(2, text(11), parent=1, root=1, operator="breadth", depth=1)
    own_child = Prompt(3, text(0), parent=0, root=0, operator="deepening", depth=1)
    found = likeness_of([near_seed, own_child], index_of(SEED, OTHER), PARENTS)
    # one of ten word triples is changed: 9 / 11 are shared with the seed, which is no ancestor
    assert found[2] == pytest.approx(9 / 11, abs=0.12)
    # the seed is its parent; of its sibling, 8 of 12 triples are shared
    assert found[3] == pytest.approx(8 / 12, abs=0.12)


def test_a_chain_is_not_likened_to_itself() -> None:
    first = Prompt(2, text(0), parent=0, root=0, operator="deepening", depth=1)
    second = Prompt(3, text(0, 11), parent=2, root=0, operator="deepening", depth=2)
    assert likeness_of([first, second], index_of(SEED, OTHER), PARENTS) == {2: 0.0, 3: 0.0}
    stranger = replace(second, number=4, parent=1, root=1)
    found = likeness_of([first, second, stranger], index_of(SEED, OTHER), PARENTS)
    assert found[3] == found[4] == 1.0 and 0.5 < found[2] < 1


def test_another_conversation_is_another_prompt() -> None:
    child = Prompt(2, text(), 1, 1, "breadth", 1, context=(Message("user", "Hello"), Message("assistant", "Hi")))
    assert likeness_of([child], index_of(SEED, OTHER), PARENTS) == {2: 0.0}
    assert likeness_of([], index_of(SEED), PARENTS) == {}


def test_an_index_finds_the_same_over_many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [Prompt(number, f"{text(number % 12)} {number}", root=number) for number in range(40)]
    child = Prompt(40, f"{text(3)} 15", 0, 0, "breadth", 1)
    parents = {prompt.number: None for prompt in prompts}
    whole = likeness_of([child], index_of(*prompts), parents)
    monkeypatch.setattr("eva.measures.minhash._BLOCK", 7)
    assert likeness_of([child], index_of(*prompts), parents) == whole == {40: 1.0}
