"""A difference reproduces both texts, keeps as much as possible, and takes bounded time."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from eva.measures.text_difference import MOST_WORDS, Stretch, difference

TEXTS = st.lists(st.sampled_from(["a", "b", "c", " ", "  ", ",", "\n", "é", "\u202e"]), max_size=12).map("".join)


def longest(one: str, other: str) -> int:
    """Returns the length of a longest common subsequence of characters, by definition."""

    @cache
    def of(i: int, j: int) -> int:
        if i == len(one) or j == len(other):
            return 0
        return of(i + 1, j + 1) + 1 if one[i] == other[j] else max(of(i + 1, j), of(i, j + 1))

    return of(0, 0)


@given(before=TEXTS, after=TEXTS)
def test_both_texts_are_reproduced(before: str, after: str) -> None:
    stretches, whole = difference(before, after)
    assert whole
    assert "".join(one.text for one in stretches if one.kind != "added") == before
    assert "".join(one.text for one in stretches if one.kind != "removed") == after
    assert all(one.text for one in stretches)
    assert all(one.kind != other.kind for one, other in pairwise(stretches))


@given(before=st.text("+-*", max_size=12), after=st.text("+-*", max_size=12))
def test_as_much_as_possible_is_kept(before: str, after: str) -> None:
    stretches, _ = difference(before, after)
    assert sum(len(one.text) for one in stretches if one.kind == "same") == longest(before, after)


def test_words_are_never_split_and_white_space_alone_is_not_kept() -> None:
    stretches, _ = difference("Sort the list.", "Sort every long list.")
    assert stretches == [
        Stretch("same", "Sort "),
        Stretch("removed", "the"),
        Stretch("added", "every long"),
        Stretch("same", " list."),
    ]
    stretches, _ = difference("one two", "three four")
    assert stretches == [Stretch("removed", "one two"), Stretch("added", "three four")]


def test_a_stretch_that_is_too_long_is_one_change() -> None:
    before, after = ("x " + "a b " * MOST_WORDS + "y"), ("x " + "b a " * MOST_WORDS + "y")
    stretches, whole = difference(before, after)
    assert not whole
    assert [one.kind for one in stretches] == ["same", "removed", "added", "same"]


def test_repetitions_of_the_largest_size_are_compared() -> None:
    before, after = "a b " * (MOST_WORDS // 4), "b c a " * (MOST_WORDS // 6)
    stretches, whole = difference(before, after)
    assert whole and len(stretches) > 1000
