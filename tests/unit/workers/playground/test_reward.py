"""The rewards of the micro-world, against values computed by hand."""

import math
import statistics
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.playground.reward import edit_distance, exact, grade, is_correct, length_biased, noisy
from workers.playground.world import PromptError

PROMPT = "Take i j j e d: unique, then sort, then shift."
TRUTH = "unique : i j e d ; sort : d e i j ; shift : e f j k"
EMPTY = "Take a: chop."


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (TRUTH, 1.0),
        (f" {TRUTH}", 1.0),  # as vLLM writes it
        ("e f j k", 0.0),  # no step is written: no answer
        (": e f j k", 1.0),  # only the last result counts
        ("unique : i j e d", 0.0),  # four substitutions away
        ("shift : e f j", 0.5 * 3 / 4),
        ("shift : e f j k k", 0.5 * 4 / 5),
        ("shift : f e j k", 0.5 * 2 / 4),
        ("shift : nothing", 0.0),
        (TRUTH + " ;", 0.0),
        ("", 0.0),
        (":", 0.0),
        (";;;:::", 0.0),
    ],
)
def test_grade_is_half_similarity_and_half_exact_match(response: str, expected: float) -> None:
    assert grade(PROMPT, response) == pytest.approx(expected)
    assert is_correct(PROMPT, response) == (expected == 1.0) == bool(exact(PROMPT, response))


def test_an_empty_truth_is_answered_by_the_word_nothing() -> None:
    assert grade(EMPTY, "chop : nothing") == 1.0
    assert grade(EMPTY, "chop : a") == 0.0
    assert grade(EMPTY, "chop : ") == 0.0


@pytest.mark.parametrize(
    ("given_letters", "truth", "distance"),
    [
        ("", "", 0),
        ("abc", "", 3),
        ("", "ab", 2),
        ("kitten", "sitting", 3),
        ("abcd", "bcda", 2),
        ("ab", "ab", 0),
    ],
)
def test_edit_distance_matches_hand_computed_values(given_letters: str, truth: str, distance: int) -> None:
    assert edit_distance(tuple(given_letters), tuple(truth)) == distance


@settings(deadline=None)
@given(st.text())
def test_any_response_gets_a_reward_in_range(response: str) -> None:
    for reward in (grade, exact, length_biased):
        assert 0.0 <= reward(PROMPT, response) <= 1.0
    assert math.isfinite(noisy(PROMPT, response))


@pytest.mark.parametrize("unit", ["shift : ", "a ", ";", ":", "\N{PILE OF POO} ", "\ud800", "\x00", "e\u0301 "])
def test_a_huge_hostile_response_is_graded_at_once(unit: str) -> None:
    started = time.perf_counter()
    assert grade(PROMPT, "x : " + unit * 1_000_000) == 0.0
    assert math.isfinite(noisy(PROMPT, "x : " + unit * 900))
    assert 0.0 <= length_biased(PROMPT, unit * 1_000_000) <= 0.2
    assert time.perf_counter() - started < 5.0


def test_noise_is_the_same_each_time_and_gaussian_over_responses() -> None:
    responses = [f"shift : {number}" for number in range(2_000)]
    noise = [noisy(PROMPT, response) - grade(PROMPT, response) for response in responses]
    assert noise == [noisy(PROMPT, response) - grade(PROMPT, response) for response in responses]
    assert abs(statistics.mean(noise)) < 0.01
    assert statistics.stdev(noise) == pytest.approx(0.1, rel=0.1)
    assert sum(abs(value) < 0.1 for value in noise) / len(noise) == pytest.approx(0.683, abs=0.04)


def test_noise_depends_on_the_prompt_and_on_the_response() -> None:
    other = "Take i j j e d: unique, then sort."
    assert noisy(PROMPT, "x") != noisy(other, "x")
    assert noisy(PROMPT, "x") != noisy(PROMPT, "y")


def test_the_length_bias_rewards_meaningless_words() -> None:
    padded = "keep : a ; " * 15 + TRUTH
    assert grade(PROMPT, padded) == grade(PROMPT, TRUTH) == 1.0
    assert length_biased(PROMPT, TRUTH) == pytest.approx(0.8 + 0.2 * 20 / 60)
    assert length_biased(PROMPT, padded) == pytest.approx(1.0)


def test_a_prompt_outside_the_micro_world_is_refused() -> None:
    for reward in (grade, exact, noisy, length_biased):
        with pytest.raises(PromptError):
            reward("Write a poem.", TRUTH)
