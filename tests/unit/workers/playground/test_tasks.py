"""Seed prompts, held-out sets and the lazy writer's lessons: deterministic, distinct, apart."""

import random
from collections import Counter

import pytest

from workers.playground.lazy_writer import draw_lesson, stop_probability, write
from workers.playground.reward import is_correct
from workers.playground.tasks import heldout, heldout_texts, is_reserved, seed_prompts
from workers.playground.world import parse, solve


def test_seed_prompts_depend_on_their_seed_alone() -> None:
    assert seed_prompts(50, seed=3) == seed_prompts(50, seed=3)
    assert seed_prompts(50, seed=3) == seed_prompts(80, seed=3)[:50]
    assert seed_prompts(50, seed=3) != seed_prompts(50, seed=4)


def test_seed_prompts_have_one_two_and_three_operations_in_their_shares() -> None:
    counts = Counter(parse(prompt).difficulty for prompt in seed_prompts(2_000, seed=0))
    assert counts.keys() == {1, 2, 3}
    assert [counts[k] / 2_000 for k in (1, 2, 3)] == pytest.approx([0.50, 0.35, 0.15], abs=0.04)


def test_held_out_sets_hold_the_difficulties_of_their_names() -> None:
    sets = heldout(seed=5, per_set=60)
    found = {name: {parse(prompt).difficulty for prompt in prompts} for name, prompts in sets.items()}
    assert found == {"easy": {1, 2}, "medium": {3}, "hard": {4, 5}}
    assert all(len(prompts) == len(set(prompts)) == 60 for prompts in sets.values())
    assert sets == heldout(seed=5, per_set=60) != heldout(seed=6, per_set=60)


def test_held_out_texts_are_all_prompts_of_the_sets() -> None:
    assert heldout_texts() == {prompt for prompts in heldout().values() for prompt in prompts}
    assert len(heldout_texts()) == 600


def test_no_choice_of_seeds_lets_the_sets_overlap() -> None:
    held_out = heldout_texts() | heldout_texts(seed=9, per_set=100)
    started_from = {prompt for seed in range(4) for prompt in seed_prompts(1_000, seed)}
    rng = random.Random(0)
    taught = {draw_lesson(rng)[0] for _ in range(2_000)}
    assert not held_out & (started_from | taught)
    assert all(map(is_reserved, held_out)) and not any(map(is_reserved, taught))


def test_white_space_does_not_free_a_held_out_prompt() -> None:
    prompt = heldout()["easy"][0]
    assert is_reserved(prompt.replace(" ", "\n "))


def test_the_stopping_odds_double_before_laborious_operations_and_halve_before_easy_ones() -> None:
    odds = {name: (p := stop_probability(2, name)) / (1 - p) for name in ("sort", "chop")}
    assert odds["sort"] == pytest.approx(2 * 0.42 / 0.58)
    assert odds["chop"] == pytest.approx(0.42 / 0.58 / 2)


def test_the_lazy_writer_makes_no_mistake_but_leaves_steps_out() -> None:
    rng = random.Random(0)
    complete = dict.fromkeys(range(1, 7), 0)
    asked = Counter[int]()
    for _ in range(3_000):
        prompt, response = draw_lesson(rng)
        task = parse(prompt)
        assert solve(task).startswith(response)
        asked[task.difficulty] += 1
        complete[task.difficulty] += response == solve(task)
    shares = [complete[k] / asked[k] for k in range(1, 7)]
    assert shares[0] == 1.0
    assert shares == sorted(shares, reverse=True)
    assert shares[4] < 0.15 < 0.7 < shares[1]


def test_a_complete_lesson_is_a_correct_answer() -> None:
    task = parse("Take a b c: reverse.")
    assert is_correct("Take a b c: reverse.", write(task, random.Random(0)))
