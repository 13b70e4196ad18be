"""The config of a study says what is wrong with it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from eva.studies.study import StudyConfig


def study(**changes: Any) -> StudyConfig:
    values = {
        "name": "metrics",
        "base": "playground",
        "arms": {
            "regret": {},
            "again": {"generation.stream": 1},
            "uniform": {"informativeness": {"metric": "uniform"}},
        },
        "seeds": 3,
        "outcome": {"figure": "heldout.hard.sampled.accuracy"},
    }
    return StudyConfig.model_validate(values | changes)


def test_every_other_arm_is_compared_with_the_first_unless_pairs_are_named() -> None:
    assert study().comparisons == (("again", "regret"), ("uniform", "regret"))
    assert study(compare=[["regret", "uniform"]]).comparisons == (("regret", "uniform"),)
    assert study().seed_list == (0, 1, 2)
    assert study(seeds=[5, 3]).seed_list == (5, 3)


def test_only_another_stream_of_draws_makes_an_arm_a_repetition() -> None:
    assert study().repeats("again", "regret")
    assert not study().repeats("uniform", "regret")
    assert not study().repeats("uniform", "again")


def test_an_outcome_names_a_set_a_mode_and_a_measure() -> None:
    outcome = study(outcome={"figure": "heldout.my.set.greedy.reward"}).outcome
    assert (outcome.split, outcome.mode, outcome.measure) == ("my.set", "greedy", "reward")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outcome": {"figure": "heldout.hard.mean"}}, "allowed is heldout.SET.MODE.FIGURE"),
        ({"outcome": {"figure": "heldout.hard.greedy.f1"}}, "no figure 'f1'"),
        ({"compare": [["regret", "inverse"]]}, "no arm inverse"),
        ({"compare": [["regret", "regret"]]}, "names regret twice"),
        ({"match": {"steps": 16, "tokens": 9}}, "exactly one of"),
        ({"match": {}}, "exactly one of"),
        ({"seeds": 0}, "at least one seed"),
        ({"seeds": [1, 1]}, "must be different"),
        ({"models": ["playground", "playground"]}, "names one twice"),
        ({"arms": {}}, "at least 1"),
        ({"arms": {"a b": {}}}, "should match pattern"),
        ({"epochs": 3}, "Extra inputs"),
    ],
)
def test_a_study_that_cannot_be_meant_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        study(**changes)
