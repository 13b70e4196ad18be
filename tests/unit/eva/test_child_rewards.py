"""What a child is worth to the creator that wrote it."""

from __future__ import annotations

import pytest

from eva.child_rewards import NOT_JUDGED, NOT_WRITTEN, RETRY, Writing, reward_children
from eva.solver.advantages import ALONE, EQUAL_REWARDS


def test_a_child_earns_its_regret_less_what_it_repeats_and_a_refused_one_nothing() -> None:
    writings = [
        Writing(0, 0, 0, 10, True, 0.8, 0.5),
        Writing(0, 1, 0, None, False, None),
        Writing(0, 1, 1, 11, True, 0.6, 0.0),
        Writing(0, 2, 0, 12, True, None, 0.2),
        Writing(0, 3, 0, 13, False, None, 0.9),
        Writing(0, 4, 0, None, False, None, None, written=False),
    ]
    rewarded = reward_children(writings, rule="rloo", weight=0.5)
    assert [one.reward for one in rewarded] == pytest.approx([0.6, 0.0, 0.6, 0.0, None, None])
    assert [one.likeness for one in rewarded] == [0.5, None, 0.0, 0.2, 0.9, None]
    assert [one.reason for one in rewarded] == [None, None, RETRY, None, NOT_JUDGED, NOT_WRITTEN]
    # rloo: less the mean of the other first replies for children of the same parent
    assert [one.advantage for one in rewarded] == pytest.approx([0.6, -0.3, None, -0.3, None, None])


def test_children_without_a_sibling_to_compare_with_teach_nothing() -> None:
    alone, equal = [Writing(0, 0, 0, 5, True, 1.0, 0.0)], [Writing(1, slot, 0, None, False, None) for slot in (0, 1)]
    rewarded = reward_children([*alone, *equal], rule="grpo", weight=1.0)
    assert [one.reason for one in rewarded] == [ALONE, EQUAL_REWARDS, EQUAL_REWARDS]
    assert [one.advantage for one in rewarded] == [None, None, None]
    assert reward_children([], rule="rloo", weight=1.0) == []
