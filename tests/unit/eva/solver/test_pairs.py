import numpy as np
import pytest

from eva.solver.pairs import pair
from eva.types import PairChoice, RewardTable


def judged(
    rewards: list[list[float]], texts: list[list[int]] | None = None, cut: list[list[bool]] | None = None
) -> RewardTable:
    rewards_P_N = np.array(rewards, dtype=float)
    return RewardTable(
        np.arange(len(rewards), dtype=np.int64) + 10,
        rewards_P_N,
        np.array(texts or (np.arange(rewards_P_N.size).reshape(rewards_P_N.shape) + 1), dtype=np.int64),
        np.array(cut if cut else np.zeros(rewards_P_N.shape), dtype=bool),
    )


def test_the_best_is_chosen_against_the_worst() -> None:
    found = pair(judged([[0.2, 0.9, 0.1], [3.0, -1.0, 2.0]]), seed=1, iteration=0)
    assert found.pairs == (PairChoice(10, 1, 2, 0.9, 0.1), PairChoice(11, 0, 1, 3.0, -1.0))
    assert found.pairs[1].margin == 4.0 and found.skipped == {}


def test_prompts_without_a_gap_give_no_pair_and_are_counted_by_reason() -> None:
    nan = float("nan")
    found = pair(
        judged([[0.5, 0.5, 0.5], [nan, nan, 1.0], [0.1, 0.15, 0.12], [0.0, 1.0, 0.5]]),
        seed=1,
        iteration=0,
        min_margin=0.2,
    )
    assert [choice.number for choice in found.pairs] == [13]
    assert found.skipped == {"too_few_responses": 1, "no_gap": 1, "below_margin": 1}


def test_cut_and_repeated_responses_are_never_in_a_pair() -> None:
    table = judged([[0.0, 0.3, 1.0, 0.6]], texts=[[1, 2, 3, 2]], cut=[[True, False, False, False]])
    assert pair(table, seed=1, iteration=0).pairs == (PairChoice(10, 2, 1, 1.0, 0.3),)


def test_ties_break_by_seed_and_not_by_order() -> None:
    table = judged([[1.0, 1.0, 0.0, 0.0]] * 200)
    found = pair(table, seed=1, iteration=0)
    chosen = np.bincount([choice.chosen for choice in found.pairs], minlength=4)
    rejected = np.bincount([choice.rejected for choice in found.pairs], minlength=4)
    assert chosen[:2].min() > 60 and rejected[2:].min() > 60 and chosen[2:].sum() == rejected[:2].sum() == 0
    assert found == pair(table, seed=1, iteration=0) != pair(table, seed=2, iteration=0)


@pytest.mark.parametrize("size", [0, 1])
def test_small_batches_are_fine(size: int) -> None:
    table = RewardTable(
        np.arange(size), np.tile([0.0, 1.0], (size, 1)), np.tile([1, 2], (size, 1)), np.zeros((size, 2), bool)
    )
    assert len(pair(table, seed=1, iteration=0).pairs) == size
