"""Advantages equal their formulas, and each response that is not trained on has a reason and is counted."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from eva.config.files import load_config
from eva.errors import ConfigError, InputError
from eva.solver.advantages import EPSILON, RULES, rule_named, weigh
from eva.types import Floats, RewardTable

NAN = float("nan")


def table(*rows: list[float], cut: dict[tuple[int, int], bool] | None = None, texts: int = 1) -> RewardTable:
    rewards_P_N = np.array(rows)
    cut_P_N = np.zeros(rewards_P_N.shape, dtype=bool)
    for place in cut or {}:
        cut_P_N[place] = True
    hashes_P_N = np.arange(1, rewards_P_N.size + 1).reshape(rewards_P_N.shape) if texts else np.ones_like(cut_P_N)
    return RewardTable(np.arange(10, 10 + len(rows)), rewards_P_N, hashes_P_N.astype(np.int64), cut_P_N)


def advantages(judged: RewardTable, *, keep_cut: bool = False) -> dict[tuple[int, int], float | None]:
    weighing = weigh(judged, rule="rloo", keep_cut=keep_cut)
    return {(row.number, row.sample): row.advantage for row in weighing.responses}


def by_hand(name: str, rewards: list[float]) -> list[float]:
    mean, n = sum(rewards) / len(rewards), len(rewards)
    if name == "rloo":
        return [reward - (sum(rewards) - reward) / (n - 1) for reward in rewards]
    spread = (sum((reward - mean) ** 2 for reward in rewards) / (n - 1)) ** 0.5 + EPSILON
    return [(reward - mean) / (spread if name == "grpo" else 1) for reward in rewards]


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("rewards", [[1.0, 0.0], [3.0, -1.0, 0.5, 0.5], [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]])
def test_an_advantage_is_what_its_formula_gives_by_hand(name: str, rewards: list[float]) -> None:
    found = rule_named(name)(np.array([rewards]))[0]
    assert found.tolist() == pytest.approx(by_hand(name, rewards), abs=1e-12)
    assert sum(found) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_unusable_responses_do_not_change_the_advantages_of_the_others(name: str) -> None:
    found = rule_named(name)(np.array([[1.0, NAN, 0.0, 5.0, NAN]]))[0]
    assert found[[0, 2, 3]].tolist() == pytest.approx(by_hand(name, [1.0, 0.0, 5.0]), abs=1e-12)
    assert np.isnan(found[[1, 4]]).all()


def test_with_two_responses_one_is_pushed_up_as_far_as_the_other_down() -> None:
    assert advantages(table([2.0, 0.5])) == {(10, 0): 1.5, (10, 1): -1.5}


def test_each_response_that_is_not_trained_on_says_why() -> None:
    judged = table([1.0, 0.0, NAN, 0.5], [1.0, 1.0, 1.0, 0.0], [1.0, NAN, NAN, NAN], cut={(1, 3): True, (0, 3): True})
    weighing = weigh(judged, rule="rloo")
    assert {(row.number, row.sample): row.reason for row in weighing.responses} == {
        (10, 0): None,
        (10, 1): None,
        (10, 2): "no_reward",
        (10, 3): "cut",
        **{(11, sample): "equal_rewards" for sample in range(3)},
        (11, 3): "cut",
        (12, 0): "alone",
        (12, 1): "no_reward",
        (12, 2): "no_reward",
        (12, 3): "no_reward",
    }
    assert (weighing.trained, weighing.prompts) == (2, 1)
    assert weighing.skipped == {"no_gap": 1, "too_few_responses": 1}
    assert weighing.left_out == {"no_reward": 4, "cut": 2, "equal_rewards": 3, "alone": 1}
    assert weighing.left_out == dict(Counter(row.reason for row in weighing.responses if row.reason))


def test_cut_responses_are_trained_on_if_they_are_kept() -> None:
    judged = table([1.0, 0.0, 0.5], cut={(0, 2): True})
    assert advantages(judged)[10, 2] is None
    assert advantages(judged, keep_cut=True)[10, 2] == pytest.approx(0)


def test_a_text_that_was_sampled_twice_is_trained_on_twice() -> None:
    assert len([1 for value in advantages(table([1.0, 1.0, 0.0], texts=0)).values() if value is not None]) == 3


def test_a_prompt_without_responses_is_counted_and_has_no_rows() -> None:
    judged = table([1.0, 0.0], [NAN, NAN])
    judged.text_hashes_P_N[1] = 0
    weighing = weigh(judged, rule="grpo")
    assert {row.number for row in weighing.responses} == {10}
    assert weighing.skipped == {"unanswered": 1}


def only_better(rewards: Floats) -> Floats:
    """Trains only on what is better than the mean of the prompt's responses, and by how much it is."""
    advantages = rewards - np.nanmean(rewards, axis=1, keepdims=True)
    return np.where(advantages > 0, advantages, np.nan)


def of_another_shape(rewards: Floats) -> Floats:
    return rewards[:, :1]


def of_no_reward(rewards: Floats) -> Floats:
    return np.zeros_like(rewards)


def test_a_rule_of_the_users_decides_what_is_trained_on() -> None:
    judged = table([1.0, 0.0, 0.8])
    weighing = weigh(judged, rule=f"{__name__}:only_better")
    assert [row.reason for row in weighing.responses] == [None, "left_out", None]
    assert [row.advantage for row in weighing.responses if row.advantage] == pytest.approx([0.4, 0.2])


@pytest.mark.parametrize("name", ["of_another_shape", "of_no_reward"])
def test_a_rule_that_breaks_its_contract_is_an_error(name: str) -> None:
    with pytest.raises(InputError, match=name):
        weigh(table([1.0, 0.0, NAN]), rule=f"{__name__}:{name}")


def test_a_rule_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no_such_rule"):
        rule_named(f"{__name__}:no_such_rule")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["generation.top_p=0.9"], "top_p is 0.9.*every ratio is off by as much; set top_p to 1"),
        (["pairs.choice=random"], "loss rloo makes no pairs"),
        (["training.mode=scratch"], "mode is scratch.*use incremental"),
        (["training.win_rates=given"], "win_rates is given"),
        (["training.order=widest_first"], "no pairs to order"),
        (["training.reference=initial"], "kl is none, so that no reference is used"),
        (["training.kl=reward"], "nothing would ever be taken off a reward"),
        (["training.advantage=rlo"], "there is no advantage 'rlo'.*did you mean 'rloo'"),
        (
            ["training.sync_every=1", "training.epochs=1", "training.batch=4"],
            "fewer than the 6 responses to one",
        ),
        (["training.loss=dpo", "training.clip_high=0.3", "training.kl=loss"], "clip_high, kl belong to online losses"),
        (["training.loss=simpo", "training.stop_kl=1"], "loss simpo has no reference"),
    ],
)
def test_a_config_that_an_online_loss_cannot_have_is_refused_with_the_reason(
    overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("playground", ["training.loss=rloo", "training.batch=12", *overrides])


@pytest.mark.parametrize("loss", ["rloo", "grpo", "dr_grpo"])
def test_an_online_loss_has_its_own_advantages_unless_the_config_names_others(loss: str) -> None:
    own, other = (
        load_config("playground", [f"training.loss={loss}", *more]) for more in ([], ["training.advantage=grpo"])
    )
    assert own.training.advantage_rule == loss and other.training.advantage_rule == "grpo"
    assert own.rows_per_prompt == 6 and load_config("playground").rows_per_prompt == 1
