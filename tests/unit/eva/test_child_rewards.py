"""What a child is worth to the creator that wrote it."""

from __future__ import annotations

import pytest

from eva.child_rewards import NOT_JUDGED, RETRY, Writing, likeness_of, reward_children
from eva.solver.advantages import ALONE, EQUAL_REWARDS
from eva.types import Message, Prompt

ROOT = Prompt(0, "Name three rivers in the south of France and say where they end.")
PARENT = Prompt(1, "Name four rivers in the south of France and say where they end.", parent=0, depth=1, born=0)
COUSIN = Prompt(2, "Write a poem about a lighthouse that has lost its keeper.", root=2)


def child(number: int, text: str, parent: int = 1) -> Prompt:
    return Prompt(number, text, parent=parent, depth=2, born=1)


def test_a_child_is_like_what_it_repeats_but_not_because_it_is_like_its_ancestors() -> None:
    close = child(3, "Name five rivers in the south of France and say where they end.")
    new = child(4, "Which of the moons of Jupiter could hold an ocean below its ice?")
    copied = child(5, f"{COUSIN.text} Let it rhyme.")
    likeness = likeness_of([close, new, copied], [ROOT, PARENT, COUSIN])
    assert likeness[3] < 0.1 and likeness[4] < 0.1, "its parent and its root do not count"
    assert likeness[5] > 0.6, "an earlier prompt of another family does"
    siblings = likeness_of([close, child(6, close.text.replace("five", "six"))], [ROOT, PARENT, COUSIN])
    assert siblings[3] == siblings[6] > 0.6, "siblings count for both"
    assert likeness_of([], [ROOT]) == {} and likeness_of([new], []) == {4: 0.0}


def test_the_same_words_in_another_conversation_are_no_repetition() -> None:
    earlier = Prompt(0, COUSIN.text, context=(Message("user", "Hello"),))
    assert likeness_of([child(1, COUSIN.text, parent=7)], [earlier])[1] < 0.1


def test_a_child_earns_its_regret_less_what_it_repeats_and_a_refused_one_nothing() -> None:
    writings = [
        Writing(0, 0, 0, 10, True, 0.8),
        Writing(0, 1, 0, None, False, None),
        Writing(0, 1, 1, 11, True, 0.6),
        Writing(0, 2, 0, 12, True, None),
        Writing(0, 3, 0, 13, False, None),
    ]
    likeness = {10: 0.5, 11: 0.0, 12: 0.2, 13: 0.9}
    rewarded = reward_children(writings, likeness, rule="rloo", weight=0.5)
    assert [one.reward for one in rewarded] == pytest.approx([0.6, 0.0, 0.6, 0.0, None])
    assert [one.likeness for one in rewarded] == [0.5, None, 0.0, 0.2, 0.9]
    assert [one.reason for one in rewarded] == [None, None, RETRY, None, NOT_JUDGED]
    # rloo: less the mean of the other first replies for children of the same parent
    assert [one.advantage for one in rewarded] == pytest.approx([0.6, -0.3, None, -0.3, None])


def test_children_without_a_sibling_to_compare_with_teach_nothing() -> None:
    alone, equal = [Writing(0, 0, 0, 5, True, 1.0)], [Writing(1, slot, 0, None, False, None) for slot in (0, 1)]
    rewarded = reward_children([*alone, *equal], {5: 0.0}, rule="grpo", weight=1.0)
    assert [one.reason for one in rewarded] == [ALONE, EQUAL_REWARDS, EQUAL_REWARDS]
    assert [one.advantage for one in rewarded] == [None, None, None]
    assert reward_children([], {}, rule="rloo", weight=1.0) == []
