"""Every choice of pairs equals its definition, written as a loop over one prompt's responses."""

from __future__ import annotations

import math
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eva.errors import InputError
from eva.solver.pairs import CHOICES, Pairing, pair
from eva.types import RewardTable

Row = list[float]
some_rows = st.lists(
    st.lists(st.integers(0, 5).map(float) | st.just(math.nan), min_size=5, max_size=5), min_size=1, max_size=10
)
some_tokens = st.lists(st.integers(1, 30), min_size=5, max_size=5)


def judged(rewards: list[Row], tokens: list[list[int]] | None = None, first: int = 10) -> RewardTable:
    rewards_P_N = np.array(rewards, dtype=float)
    return RewardTable(
        np.arange(len(rewards), dtype=np.int64) + first,
        rewards_P_N,
        np.arange(rewards_P_N.size, dtype=np.int64).reshape(rewards_P_N.shape) + 1,
        np.zeros(rewards_P_N.shape, dtype=bool),
        tokens_P_N=np.array(tokens, dtype=np.int64) if tokens else None,
    )


def allowed(row: Row, tokens: list[int], choice: str) -> set[tuple[float, float]]:
    """Returns the (chosen, rejected) rewards that the definition allows; empty means no pair."""
    present = [place for place, reward in enumerate(row) if reward == reward]
    gaps = [(a, b) for a, b in permutations(present, 2) if row[a] > row[b]]
    if choice == "length_controlled":
        gaps = [(a, b) for a, b in gaps if max(tokens[a], tokens[b]) <= 1.5 * min(tokens[a], tokens[b])]
    if not gaps:
        return set()
    ordered = sorted(row[place] for place in present)
    widest = max(row[a] - row[b] for a, b in gaps)
    second = ordered[1] if ordered[1] < ordered[-1] else ordered[0]
    return {
        "best_vs_worst": {(ordered[-1], ordered[0])},
        "second_worst": {(ordered[-1], second)},
        "random": {(row[a], row[b]) for a, b in gaps},
        "all_vs_best": {(row[a], row[b]) for a, b in gaps if row[a] == ordered[-1]},
        "length_controlled": {(row[a], row[b]) for a, b in gaps if row[a] - row[b] == widest},
    }[choice]


def paired(rewards: list[Row], tokens: list[list[int]], choice: str, min_margin: float = 0.0) -> Pairing:
    ratio = 1.5 if choice == "length_controlled" else None
    return pair(judged(rewards, tokens), seed=3, iteration=1, choice=choice, length_ratio=ratio, min_margin=min_margin)


@pytest.mark.parametrize("choice", CHOICES)
@settings(max_examples=40)
@given(rewards=some_rows, tokens=some_tokens)
def test_the_choice_equals_its_definition(choice: str, rewards: list[Row], tokens: list[int]) -> None:
    found = paired(rewards, [tokens] * len(rewards), choice)
    for place, row in enumerate(rewards):
        mine = [one for one in found.pairs if one.number == place + 10]
        assert all((one.chosen_reward, one.rejected_reward) == (row[one.chosen], row[one.rejected]) for one in mine)
        named = {(one.chosen_reward, one.rejected_reward) for one in mine}
        wanted = allowed(row, tokens, choice)
        assert named == wanted if choice == "all_vs_best" else named <= wanted and len(mine) == bool(wanted)
        if choice == "length_controlled":
            assert all(
                max(tokens[one.chosen], tokens[one.rejected]) <= 1.5 * min(tokens[one.chosen], tokens[one.rejected])
                for one in mine
            )
    assert len({one.number for one in found.pairs}) + sum(found.skipped.values()) == len(rewards)


@pytest.mark.parametrize("choice", CHOICES)
def test_the_order_of_the_prompts_changes_no_pair(choice: str) -> None:
    draws = np.random.default_rng(1)
    rewards, tokens = draws.integers(0, 4, (60, 5)).astype(float).tolist(), draws.integers(1, 9, (60, 5)).tolist()
    table, order = judged(rewards, tokens), np.random.default_rng(2).permutation(60)
    assert table.tokens_P_N is not None
    turned = RewardTable(
        table.numbers_P[order],
        table.rewards_P_N[order],
        table.text_hashes_P_N[order],
        table.cut_P_N[order],
        tokens_P_N=table.tokens_P_N[order],
    )
    one, other = (pair(some, seed=3, iteration=1, choice=choice) for some in (table, turned))
    assert sorted(one.pairs, key=repr) == sorted(other.pairs, key=repr) and one.skipped == other.skipped


def test_random_draws_each_pair_with_a_gap_equally_often() -> None:
    found = pair(judged([[0.0, 1.0, 1.0, 2.0, math.nan]] * 5000), seed=3, iteration=1, choice="random")
    counted = Counter((one.chosen, one.rejected) for one in found.pairs)
    assert {*counted} == {(1, 0), (2, 0), (3, 0), (3, 1), (3, 2)}
    assert sum((count - 1000) ** 2 / 1000 for count in counted.values()) < 18.5, "beyond 0.1 %, 4 degrees of freedom"


def test_second_worst_breaks_ties_by_seed() -> None:
    found = pair(judged([[2.0, 1.0, 1.0, 0.0]] * 300), seed=3, iteration=1, choice="second_worst")
    counted = Counter((one.chosen, one.rejected) for one in found.pairs)
    assert {*counted} == {(0, 1), (0, 2)} and min(counted.values()) > 100


def test_each_prompt_without_a_pair_is_counted_once_under_its_reason() -> None:
    rewards = [[1.0, 0.0, 0.5], [1.0, 1.0, 1.0], [math.nan, math.nan, 1.0], [1.0, 0.95, 0.9], [3.0, 0.0, 2.9]]
    tokens = [[10, 11, 10], [9, 9, 9], [9, 9, 9], [9, 9, 9], [10, 100, 1000]]
    assert paired(rewards, tokens, "length_controlled", min_margin=0.2).skipped == {
        "too_few_responses": 1,
        "no_gap": 1,
        "lengths_differ": 1,
        "below_margin": 1,
    }
    every = paired(rewards, tokens, "all_vs_best", min_margin=0.2)
    assert [(one.number, one.chosen, one.rejected) for one in every.pairs] == [(10, 0, 1), (10, 0, 2), (14, 0, 1)]
    assert every.skipped == {"too_few_responses": 1, "no_gap": 1, "below_margin": 1}


def test_many_responses_are_compared_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = np.random.default_rng(1)
    rewards, tokens = draws.random((40, 5)).tolist(), draws.integers(1, 9, (40, 5)).tolist()
    whole = paired(rewards, tokens, "length_controlled")
    monkeypatch.setattr("eva.solver.pairs._BLOCK", 75)
    assert paired(rewards, tokens, "length_controlled") == whole


def test_unknown_lengths_are_an_error() -> None:
    with pytest.raises(InputError, match="lengths are unknown"):
        pair(judged([[0.0, 1.0]]), seed=1, iteration=0, choice="length_controlled")


@pytest.mark.parametrize("choice", CHOICES)
def test_an_empty_batch_gives_no_pair(choice: str) -> None:
    empty = RewardTable(
        np.arange(0),
        np.empty((0, 3)),
        np.empty((0, 3), np.int64),
        np.empty((0, 3), bool),
        tokens_P_N=np.empty((0, 3), np.int64),
    )
    assert pair(empty, seed=1, iteration=0, choice=choice) == Pairing((), {})
