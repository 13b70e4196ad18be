"""Responses are rewarded for agreeing with the majority; a vote that says too little gives no reward but a reason."""

from __future__ import annotations

import pytest

from eva.config import AgreementReward
from eva.config.files import load_config
from eva.errors import ConfigError
from eva.types import Reward
from workers.rewards.agreement import AgreementModel
from workers.rewards.model import RewardRequest


def rewards(*responses: str, **settings: object) -> tuple[Reward, ...]:
    config = AgreementReward.model_validate({"kind": "agreement"} | settings)
    AgreementModel.check(config)
    (given,) = AgreementModel(config).reward_many([RewardRequest("p", responses)], lambda: None)
    return given


def test_the_majority_is_right_and_who_gives_no_answer_is_wrong() -> None:
    given = rewards("it is 4", "4.0", "perhaps 5", "no idea")
    assert [reward.value for reward in given] == [1.0, 1.0, 0.0, 0.0]
    assert all(dict(reward.parts)["share"].value == 0.5 for reward in given)


@pytest.mark.parametrize(
    ("responses", "settings", "why"),
    [
        (("1", "2"), {}, "two answers are equally frequent"),
        (("1", "1", "2", "2", "3"), {}, "two answers are equally frequent"),
        (("no", "idea"), {}, "no response has an answer"),
        (("1",), {}, "one response alone"),
        (("1", "1", "2", "3", "4"), {"low": 0.5}, "share is below 0.5"),
        (("1", "1", "1", "1"), {"high": 0.8}, "share is above 0.8"),
    ],
)
def test_a_vote_that_does_not_count_gives_a_reason(
    responses: tuple[str, ...], settings: dict[str, float], why: str
) -> None:
    given = rewards(*responses, **settings)
    assert [reward.value for reward in given] == [None] * len(responses)
    assert all(why in (reward.reason or "") for reward in given)


def test_shares_at_the_bounds_count() -> None:
    assert [reward.value for reward in rewards("1", "1", "2", "3", low=0.5, high=0.5)] == [1.0, 1.0, 0.0, 0.0]


def shout(response: str) -> str | None:
    if response == "?":
        raise ZeroDivisionError("division by zero")
    return response.upper()


def test_a_users_normaliser_is_asked_and_its_failure_costs_the_prompt_alone() -> None:
    name = f"{__name__}:shout"
    assert [reward.value for reward in rewards("a", "A", "b", normaliser=name)] == [1.0, 1.0, 0.0]
    failed = rewards("a", "?", normaliser=name)
    why = "the normaliser failed with ZeroDivisionError: division by zero"
    assert [reward.reason for reward in failed] == [why, why]


def test_the_name_under_which_rewards_are_stored_has_what_decides_them() -> None:
    config = AgreementReward(kind="agreement", normaliser="boxed", low=0.3)
    assert AgreementModel.name_of(config) == "agreement:boxed:low=0.3"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["reward={kind: agreement}"],
            "agreement, which says nothing of a single greedy response to a held-out",
        ),
        (["evaluation.reward={kind: agreement}"], "evaluation.reward.kind is agreement"),
        (["reward={kind: agreement, low: 0.9, high: 0.1}"], "low is 0.9 and high is 0.1"),
        (["reward={kind: agreement, normaliser: last_numbr}"], "did you mean 'last_number'"),
    ],
)
def test_an_impossible_config_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("playground", overrides)
