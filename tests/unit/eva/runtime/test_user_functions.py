"""Weightings, samplers and choices of pairs of the user's: what they return is checked, and every mistake is told."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from eva.config.files import load_config
from eva.creator.informativeness import estimate
from eva.creator.novelty import load_check
from eva.creator.sampling import SamplingRule, sample
from eva.errors import ConfigError, InputError
from eva.solver.pairs import pair
from eva.types import RewardTable
from orchestrator.launch.preflight import check_run

JUDGED = RewardTable(
    np.arange(4),
    np.array([[0.0, 1.0, 2.0], [0.0, 3.0, np.nan], [1.0, 5.0, 0.0], [0.0, 0.5, 0.5]]),
    np.arange(12).reshape(4, 3),
    np.zeros((4, 3), dtype=bool),
)


@pytest.fixture
def mine() -> Iterator[Callable[[Callable[..., Any]], str]]:
    """Puts a function into the user's module, and says by which name."""
    module = ModuleType("mine")
    sys.modules["mine"] = module

    def named(function: Callable[..., Any]) -> str:
        module.__dict__["mine"] = function
        return "mine:mine"

    yield named
    del sys.modules["mine"]


Named = Callable[[Callable[..., Any]], str]


def drawn(**rule: Any) -> list[int]:
    return sample(estimate(JUDGED), 2, SamplingRule(**rule), seed=1, iteration=1).subset


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda info, temperature: info[:2], r"shape \(2,\) for 4 prompts"),
        (lambda info, temperature: np.log(info - 2), "nan for 1 of 4 prompts"),
        (lambda info, temperature: [np.inf, 0, 0, 0], "inf for 1 of 4 prompts"),
        (lambda info, temperature: np.full(4, -np.inf), "-inf for every prompt"),
        (lambda info, temperature: ["a", "b", "c", "d"], "a list that is not an array of numbers"),
        (lambda info, temperature: None, r"shape \(\) for 4 prompts"),
        (lambda info, temperature: 1 / 0, "failed with ZeroDivisionError"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:divide by zero:RuntimeWarning")
def test_invalid_weights_are_refused(function: Callable[..., Any], says: str, mine: Named) -> None:
    with pytest.raises(InputError, match=rf"weighting 'mine:mine' .*{says}.*log weights.*eva run --resume"):
        drawn(weights=mine(function))


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda candidates: candidates.info_E[1:], r"shape \(3,\) for 4 prompts"),
        (lambda candidates: candidates.info_E * np.nan, "nan for 4 of 4 prompts"),
        (lambda candidates: candidates.nothing, "failed with AttributeError"),
    ],
)
def test_invalid_keys_are_refused(function: Callable[..., Any], says: str, mine: Named) -> None:
    with pytest.raises(InputError, match=rf"sampler 'mine:mine' .*{says}.*the largest win"):
        drawn(sampler=mine(function))


def test_a_function_that_changes_its_arguments_has_no_effect(mine: Named) -> None:
    def greedy(candidates: Any) -> Any:
        candidates.gumbel_E[:] = 7
        return np.zeros(4)

    before = drawn(sampler=mine(lambda candidates: np.zeros(4)))
    assert drawn(sampler=mine(greedy)) == before

    def nothing(info_E: Any, temperature: float) -> Any:
        info_E[:] = 0
        return np.zeros(4)

    assert drawn(weights=mine(nothing), sampler="greedy") == drawn(sampler="greedy")

    def upside_down(rated: Any) -> Any:
        rated.rewards_P_N[:] = -rated.rewards_P_N
        return np.arange(4), np.full(4, 1), np.zeros(4, np.int64)

    assert {one.number for one in pair(JUDGED, seed=1, iteration=1, choice=mine(upside_down)).pairs} == {0, 1, 2, 3}


def test_prompts_of_weight_0_or_key_minus_infinity_are_never_drawn(mine: Named) -> None:
    assert drawn(weights=mine(lambda info, temperature: [0, -np.inf, -np.inf, -np.inf])) == [0]
    assert drawn(sampler=mine(lambda candidates: [-np.inf, 1, -np.inf, -np.inf])) == [1]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (([0], [1]), "a tuple that is not three arrays"),
        (None, "a NoneType that is not three arrays"),
        (([0.5], [1], [0]), "a tuple that is not three arrays"),
        (([0, 1], [1], [0]), r"arrays of shapes \(2,\), \(1,\), \(1,\)"),
        (([4], [1], [0]), "row 4 of 4"),
        (([0], [3], [0]), "chosen sample 3 of 3"),
        (([0], [1], [-1]), "rejected sample -1"),
        (([1], [2], [0]), "1 chosen responses that are unusable"),
        (([1], [1], [2]), "1 rejected responses that are"),
        (([0, 2, 0], [1, 1, 1], [0, 0, 0]), "a pair twice"),
    ],
)
def test_invalid_pairs_are_refused(given: Any, says: str, mine: Named) -> None:
    with pytest.raises(InputError, match=rf"choice of pairs 'mine:mine' gave {says}.*rated.rewards_P_N"):
        pair(JUDGED, seed=1, iteration=1, choice=mine(lambda rated: given))


def test_a_prompt_may_have_several_pairs_or_none_and_pairs_need_no_gap(mine: Named) -> None:
    pairing = pair(JUDGED, seed=1, iteration=1, choice=mine(lambda rated: ([0, 0, 3], [2, 1, 2], [1, 0, 1])))
    assert [(one.number, one.chosen, one.rejected) for one in pairing.pairs] == [(0, 2, 1), (0, 1, 0)]
    assert pair(JUDGED, seed=1, iteration=1, choice=mine(lambda rated: ([], [], []))).pairs == ()


@pytest.mark.parametrize("given", [True, "", " ", 3])
def test_an_invalid_reason_is_refused(given: Any, mine: Named) -> None:
    with pytest.raises(InputError, match=rf"novelty check 'mine:mine' gave {given!r}.*the reason why it is not"):
        load_check(mine(lambda text: given)).reason("a text")
    with pytest.raises(InputError, match="novelty check 'mine:mine' failed with ZeroDivisionError"):
        load_check(mine(lambda text: 1 / 0)).reason("a text")


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("sampling.weights", "weighting"),
        ("sampling.sampler", "sampler"),
        ("pairs.choice", "choice of pairs"),
        ("novelty.checks", "novelty check"),
    ],
)
def test_a_function_that_cannot_be_called_fails_before_anything_starts(key: str, what: str, mine: Named) -> None:
    def set_to(name: str) -> list[str]:
        return [f"{key}=[{name}]" if key == "novelty.checks" else f"{key}={name}"]

    with pytest.raises(ConfigError, match=rf"{what} 'no_such_module:f': importing"):
        check_run(load_config("playground", set_to("no_such_module:f")))
    with pytest.raises(ConfigError, match=rf"{what} 'mine:other'.*has no function"):
        check_run(load_config("playground", set_to("mine:other")))
    name = mine(lambda: None)
    with pytest.raises(ConfigError, match=rf"{what} '{name}' takes \(\)"):
        check_run(load_config("playground", set_to(name)))
