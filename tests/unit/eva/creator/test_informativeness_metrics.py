"""Every metric equals its definition in ALGORITHM's table, written as a plain loop over lists."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eva.creator.informativeness import estimate
from eva.creator.metrics import METRICS, VALUES_NO_GAP
from eva.errors import ConfigError, InputError
from eva.types import Floats, RewardTable

GAPS = ["a_min", "a_avg", "a_dts", "variance"]
PER_PROMPT: dict[str, Callable[[list[float]], float]] = {
    "a_min": lambda r: max(r) - min(r),
    "a_avg": lambda r: max(r) - sum(r) / len(r),
    "a_dts": lambda r: sorted(r)[-1] - sorted(r)[-2],
    "variance": lambda r: sum((x - sum(r) / len(r)) ** 2 for x in r) / len(r),
    "mean": lambda r: sum(r) / len(r),
    "uniform": lambda r: 1.0,
    "learnability": lambda r: (sum(x > 0.5 for x in r) / len(r)) * (1 - sum(x > 0.5 for x in r) / len(r)),
    "std_normalised": lambda r: (
        (max(r) - sum(r) / len(r)) / math.sqrt(sum((x - sum(r) / len(r)) ** 2 for x in r) / len(r))
    ),
}
OVER_THE_POOL = {"inverse_mean": "mean", "inverse_a_min": "a_min"}

some_rewards = st.lists(
    st.lists(st.integers(-20, 20).map(lambda tenth: tenth / 10) | st.just(math.nan), min_size=5, max_size=5),
    min_size=1,
    max_size=12,
)


def judged(rewards: list[list[float]]) -> RewardTable:
    rewards_P_N = np.array(rewards, dtype=float)
    texts_P_N = np.arange(rewards_P_N.size, dtype=np.int64).reshape(rewards_P_N.shape) + 1
    return RewardTable(np.arange(len(rewards)), rewards_P_N, texts_P_N, np.zeros(rewards_P_N.shape, dtype=bool))


def info(rewards: list[list[float]], metric: str) -> Floats:
    return estimate(judged(rewards), metric=metric, threshold=0.5 if metric == "learnability" else None).info_P


def by_definition(rewards: list[list[float]], metric: str) -> list[float]:
    """Returns NaN below two rewards; 0 without a gap, except for the baselines, which keep their value."""
    if metric in OVER_THE_POOL:
        values = by_definition(rewards, OVER_THE_POOL[metric])
        known = [value for value in values if value == value]
        if known and max(known) - min(known) < 1e-12 * max(map(abs, known)):  # they differ by rounding alone
            values = [known[0] if value == value else value for value in values]
            known = known[:1]
        width = (max(known) - min(known) or 1.0) if known else 1.0
        return [1 - (value - min(known)) / width if value == value else math.nan for value in values]
    values: list[float] = []
    for row in rewards:
        present = [reward for reward in row if reward == reward]
        flat = len(set(present)) < 2 and metric not in VALUES_NO_GAP
        values.append(math.nan if len(present) < 2 else 0.0 if flat else PER_PROMPT[metric](present))
    return values


@pytest.mark.parametrize("metric", METRICS)
@settings(max_examples=25)
@given(rewards=some_rewards)
def test_the_metric_equals_its_definition(metric: str, rewards: list[list[float]]) -> None:
    assert info(rewards, metric) == pytest.approx(by_definition(rewards, metric), abs=1e-9, nan_ok=True)


def test_every_metric_has_a_definition_here() -> None:
    assert {*PER_PROMPT, *OVER_THE_POOL} == {*METRICS}


@pytest.mark.parametrize("metric", GAPS)
@settings(max_examples=25)
@given(rewards=some_rewards, shift=st.floats(-100, 100))
def test_a_shift_of_all_rewards_changes_no_gap(metric: str, rewards: list[list[float]], shift: float) -> None:
    shifted = [[reward + shift for reward in row] for row in rewards]
    assert info(shifted, metric) == pytest.approx(info(rewards, metric), abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("metric", METRICS)
@settings(max_examples=25)
@given(rewards=some_rewards, order=st.permutations(range(5)))
def test_the_order_of_the_responses_changes_no_info(metric: str, rewards: list[list[float]], order: list[int]) -> None:
    turned = [[row[place] for place in order] for row in rewards]
    assert info(turned, metric) == pytest.approx(info(rewards, metric), abs=1e-9, nan_ok=True)


def test_means_that_differ_by_rounding_alone_are_a_constant_pool() -> None:
    rows = [[0.3, 0.1, 0.7, 0.0, 0.6], [0.6, 0.1, 0.7, 0.3, 0.0]]
    means = {sum(row) / len(row) for row in rows}
    assert len(means) > 1 and max(means) - min(means) < 1e-15
    assert info(rows, "inverse_mean").tolist() == [1.0, 1.0]


@settings(max_examples=25)
@given(rewards=some_rewards, scale=st.sampled_from([1e-160, 0.3, 7.0, 1e150]), shift=st.integers(-3, 3))
def test_std_normalised_depends_on_neither_scale_nor_shift(
    rewards: list[list[float]], scale: float, shift: int
) -> None:
    changed = [[reward * scale for reward in row] for row in rewards]
    assert info(changed, "std_normalised") == pytest.approx(info(rewards, "std_normalised"), rel=1e-6, nan_ok=True)
    moved = [[reward + shift for reward in row] for row in rewards]
    assert info(moved, "std_normalised") == pytest.approx(info(rewards, "std_normalised"), rel=1e-6, nan_ok=True)


@pytest.mark.parametrize(
    ("metric", "flat"),
    [
        ("a_min", 0.0),
        ("a_avg", 0.0),
        ("a_dts", 0.0),
        ("variance", 0.0),
        ("learnability", 0.0),
        ("std_normalised", 0.0),
        ("mean", -3.0),
        ("inverse_mean", 1.0),
        ("inverse_a_min", 1.0),
        ("uniform", 1.0),
    ],
)
def test_a_prompt_without_a_gap_is_counted_and_keeps_only_its_mean(metric: str, flat: float) -> None:
    """With negative rewards, a mean of 0 would make the least informative prompt the best of the pool."""
    table = judged([[-3.0, -3.0, -3.0], [-3.0, -3.0, -3.0], [-1.0, -2.0, 0.0], [math.nan, math.nan, 1.0]])
    texts_P_N = table.text_hashes_P_N.copy()
    texts_P_N[1] = 7
    found = estimate(
        RewardTable(table.numbers_P, table.rewards_P_N, texts_P_N, table.cut_P_N),
        metric=metric,
        threshold=-1.5 if metric == "learnability" else None,
    )
    assert found.info_P[:2] == pytest.approx([flat, flat]) and np.isnan(found.info_P[3])
    assert found.counts() == {"equal_rewards": 1, "one_text": 1, "too_few_rewards": 1}


def test_a_metric_beyond_the_range_of_floats_is_null_with_a_reason() -> None:
    found = estimate(judged([[1e200, -1e200], [1.0, 0.0]]), metric="variance")
    assert np.isnan(found.info_P[0]) and found.info_P[1] == 0.25 and found.counts() == {"not_finite": 1}


OWN = """
import numpy as np

def middle(rewards_P_N):
    return np.nanmax(rewards_P_N, axis=1) - np.nanmedian(rewards_P_N, axis=1)

def selective(rewards_P_N):
    return np.where(rewards_P_N[:, 0] > 0.5, 1.0, np.nan)

def total(rewards_P_N):
    return rewards_P_N.sum()

def broken(rewards_P_N):
    return 1 / 0

def two(rewards_P_N, more):
    return more
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_metrics.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "own_metrics"


def test_a_users_function_is_a_metric_and_sees_only_prompts_with_a_gap(own: str) -> None:
    rewards = [[0.0, 1.0, 0.25], [0.5, 0.5, 0.5], [math.nan, math.nan, 1.0], [1.0, math.nan, 0.0]]
    assert info(rewards, f"{own}:middle") == pytest.approx([0.75, 0.0, math.nan, 0.5], nan_ok=True)
    found = estimate(judged([[1.0, 0.0], [0.0, 1.0]]), metric=f"{own}:selective")
    assert found.info_P[0] == 1.0 and np.isnan(found.info_P[1]) and found.counts() == {"not_finite": 1}


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        ("total", InputError, r"shape \(\)"),
        ("broken", InputError, "ZeroDivisionError"),
        ("two", ConfigError, "more"),
        ("absent", ConfigError, "no function 'absent'"),
    ],
)
def test_an_unusable_metric_is_named(own: str, name: str, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        info([[0.0, 1.0], [2.0, 3.0]], f"{own}:{name}")


def test_a_missing_module_is_named() -> None:
    with pytest.raises(ConfigError, match="no_such_module"):
        info([[0.0, 1.0]], "no_such_module:metric")
