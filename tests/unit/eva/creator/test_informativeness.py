import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eva.creator.informativeness import estimate
from eva.types import REASONS, Floats, RewardTable


def judged(
    rewards: list[list[float]],
    texts: list[list[int]] | None = None,
    cut: list[list[bool]] | None = None,
    failures: dict[int, str] | None = None,
) -> RewardTable:
    rewards_P_N = np.array(rewards, dtype=float)
    distinct = np.arange(rewards_P_N.size, dtype=np.int64).reshape(rewards_P_N.shape) + 1
    return RewardTable(
        np.arange(len(rewards), dtype=np.int64),
        rewards_P_N,
        np.array(texts, dtype=np.int64) if texts else distinct,
        np.array(cut, dtype=bool) if cut else np.zeros(rewards_P_N.shape, dtype=bool),
        failures or {},
    )


def test_a_min_is_the_gap_between_best_and_worst() -> None:
    assert estimate(judged([[0.1, 0.9, 0.4], [-2.0, 3.0, 0.0]])).info_P == pytest.approx([0.8, 5.0])


@pytest.mark.parametrize(
    ("rewards", "texts", "info", "reason"),
    [
        ([np.nan, np.nan, 0.5], [1, 2, 3], None, "too_few_rewards"),
        ([np.inf, 0.5, -np.inf], [1, 2, 3], None, "too_few_rewards"),
        ([0.1, 0.9, 0.5], [7, 7, 7], 0.0, "one_text"),
        ([0.5, 0.5, 0.5], [1, 2, 3], 0.0, "equal_rewards"),
        ([0.2, np.nan, 0.5], [1, 2, 3], 0.3, None),
        ([0.2, np.inf, 0.5], [1, 2, 3], 0.3, None),
    ],
)
def test_each_degenerate_case_has_its_info_and_its_reason(
    rewards: list[float], texts: list[int], info: float | None, reason: str | None
) -> None:
    found = estimate(judged([rewards], [texts]))
    assert (None if np.isnan(found.info_P[0]) else found.info_P[0]) == (info if info is None else pytest.approx(info))
    assert found.reason(0) == reason
    assert found.counts() == ({reason: 1} if reason else {})


def test_identical_texts_count_once_with_the_reward_of_the_first() -> None:
    assert estimate(judged([[0.0, 0.4, 1.0]], [[5, 6, 5]])).info_P == pytest.approx([0.4])


def test_a_repeated_text_counts_if_its_first_reward_failed() -> None:
    assert estimate(judged([[np.nan, 0.4, 1.0]], [[5, 6, 5]])).info_P == pytest.approx([0.6])


def test_cut_responses_are_left_out_unless_asked_for() -> None:
    table = judged([[0.0, 0.6, 1.0]], cut=[[True, False, False]])
    assert estimate(table).info_P == pytest.approx([0.4])
    assert estimate(table, keep_cut=True).info_P == pytest.approx([1.0])


def test_a_prompt_without_responses_has_a_reason() -> None:
    found = estimate(judged([[np.nan, np.nan], [0.0, 1.0]], failures={0: "too long"}))
    assert found.reason(0) == "unanswered" and np.isnan(found.info_P[0]) and found.info_P[1] == 1.0


@given(st.lists(st.lists(st.floats(-10, 10), min_size=4, max_size=4), min_size=1, max_size=20), st.floats(-100, 100))
def test_a_shift_of_all_rewards_changes_no_a_min(rewards: list[list[float]], shift: float) -> None:
    before = estimate(judged(rewards)).info_P
    after = estimate(judged([[reward + shift for reward in row] for row in rewards])).info_P
    assert after == pytest.approx(before, abs=1e-9)


def test_every_reason_has_its_name() -> None:
    assert REASONS == (None, "unanswered", "too_few_rewards", "one_text", "equal_rewards", "not_finite")


@pytest.mark.parametrize(
    ("metric", "info"),
    [
        ("a_min", 1.0),
        ("a_dts", 1.0),
        ("uniform", 1.0),
        ("a_avg", 1 / 6),
        ("mean", 5 / 6),
        ("variance", 5 / 36),
        ("learnability", 5 / 36),
        ("std_normalised", (1 / 6) / (5 / 36) ** 0.5),
    ],
)
def test_five_right_copies_and_one_wrong_response_mean_what_the_metric_says(metric: str, info: float) -> None:
    threshold = 0.5 if metric == "learnability" else None
    table = judged([[1.0, 1.0, 0.0, 1.0, 1.0, 1.0]], [[7, 7, 8, 7, 7, 7]])
    assert estimate(table, metric=metric, threshold=threshold).info_P == pytest.approx([info])


@pytest.mark.parametrize("metric", ["learnability", "mean", "variance", "a_avg"])
def test_a_metric_of_the_policy_ranks_prompts_as_its_true_value_does(metric: str) -> None:
    draw = np.random.default_rng(3)
    true_P = draw.uniform(0, 1, 3000)
    right_P_N = draw.random((3000, 8)) < true_P[:, None]
    # one right text and a few wrong ones, as in short problems with one solution
    texts_P_N = np.where(right_P_N, 1, draw.integers(2, 6, right_P_N.shape))
    table = judged(right_P_N.astype(float).tolist(), texts_P_N.tolist())
    # expected value for 8 responses: p (1 - p) shrinks by 7/8; max - mean is P(any right) - p
    expected_P = {
        "learnability": true_P * (1 - true_P),
        "variance": true_P * (1 - true_P),
        "mean": true_P,
        "a_avg": 1 - (1 - true_P) ** 8 - true_P,
    }[metric]
    found = estimate(table, metric=metric, threshold=0.5 if metric == "learnability" else None).info_P
    ranks_2_P = np.stack([np.argsort(np.argsort(values)) for values in (found, expected_P)])
    assert np.corrcoef(ranks_2_P)[0, 1] > 0.6


def share_of_all(rewards_P_N: Floats) -> Floats:
    return np.isfinite(rewards_P_N).sum(axis=1).astype(float)


def test_a_function_of_the_user_chooses_between_texts_and_responses(monkeypatch: pytest.MonkeyPatch) -> None:
    table = judged([[1.0, 1.0, 0.0]], [[7, 7, 8]])
    name = f"{__name__}:share_of_all"
    assert estimate(table, metric=name).info_P == pytest.approx([2.0])
    monkeypatch.setattr(share_of_all, "all_responses", True, raising=False)
    assert estimate(table, metric=name).info_P == pytest.approx([3.0])
