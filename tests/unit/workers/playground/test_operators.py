"""Operators and evolver: children are prompts of the world, changed as their operator says."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.playground.evolver import RuleEvolver
from workers.playground.operators import IN_BREADTH, IN_DEPTH, OPERATORS
from workers.playground.random_tasks import draw_task
from workers.playground.tasks import is_reserved, seed_prompts
from workers.playground.world import EFFORT, MAX_LETTERS, MAX_OPERATIONS, Operation, Task, parse, render

seeds = st.integers(0, 2**63)


def tasks() -> st.SearchStrategy[Task]:
    sizes = st.integers(1, MAX_OPERATIONS), st.integers(1, MAX_LETTERS), seeds
    return st.builds(lambda steps, letters, seed: draw_task(steps, letters, random.Random(seed)), *sizes)


def effort(task: Task) -> int:
    return sum(EFFORT[operation.name] for operation in task.operations)


def is_subsequence(part: tuple[object, ...], whole: tuple[object, ...]) -> bool:
    rest = iter(whole)
    return all(item in rest for item in part)


def test_the_operators_are_named_and_divided_into_depth_and_breadth() -> None:
    assert set(OPERATORS) == {*IN_DEPTH, *IN_BREADTH}
    assert set(OPERATORS) == {"constraints", "deepening", "concretizing", "reasoning", "breadth"}


@settings(deadline=None)
@given(tasks(), seeds, st.sampled_from(list(OPERATORS)))
def test_every_operator_yields_a_task_that_its_prompt_states(task: Task, seed: int, operator: str) -> None:
    child = OPERATORS[operator](task, random.Random(seed))
    assert parse(render(child)) == child
    assert child == OPERATORS[operator](task, random.Random(seed))


@settings(deadline=None)
@given(tasks(), seeds)
def test_constraints_append_one_condition_on_the_result(task: Task, seed: int) -> None:
    child = OPERATORS["constraints"](task, random.Random(seed))
    if task.difficulty == MAX_OPERATIONS:
        assert child == task
    else:
        assert (child.letters, child.operations[:-1]) == (task.letters, task.operations)
        assert child.operations[-1].name in ("remove", "replace", "unique")


@settings(deadline=None)
@given(tasks(), seeds)
def test_reasoning_inserts_one_operation_anywhere(task: Task, seed: int) -> None:
    child = OPERATORS["reasoning"](task, random.Random(seed))
    assert child.difficulty == min(task.difficulty + 1, MAX_OPERATIONS)
    assert child.letters == task.letters
    assert is_subsequence(task.operations, child.operations)


def test_reasoning_reaches_every_place_of_a_chain() -> None:
    task = parse("Take a b: keep, then keep.")
    keep = Operation("keep")
    children = [OPERATORS["reasoning"](task, random.Random(seed)).operations for seed in range(60)]
    places = {next(i for i, operation in enumerate(chain) if operation != keep) for chain in children}
    assert places == {0, 1, 2}


@settings(deadline=None)
@given(tasks(), seeds)
def test_deepening_asks_the_same_of_one_or_two_letters_more(task: Task, seed: int) -> None:
    child = OPERATORS["deepening"](task, random.Random(seed))
    grown = len(child.letters) - len(task.letters)
    assert child.operations == task.operations
    assert is_subsequence(task.letters, child.letters)
    assert grown in (1, 2) or len(child.letters) == MAX_LETTERS


@settings(deadline=None)
@given(tasks(), seeds)
def test_concretizing_raises_the_effort_of_exactly_one_operation(task: Task, seed: int) -> None:
    child = OPERATORS["concretizing"](task, random.Random(seed))
    pairs = list(zip(task.operations, child.operations, strict=True))
    changed = [(old, new) for old, new in pairs if old != new]
    if effort(task) == 3 * task.difficulty:
        assert child == task
    else:
        assert child.letters == task.letters and len(changed) == 1
        assert EFFORT[changed[0][1].name] > EFFORT[changed[0][0].name]


@settings(deadline=None)
@given(tasks(), seeds)
def test_breadth_keeps_difficulty_letters_and_effort(task: Task, seed: int) -> None:
    child = OPERATORS["breadth"](task, random.Random(seed))
    assert (child.difficulty, len(child.letters)) == (task.difficulty, len(task.letters))
    assert effort(child) == effort(task)


def test_inserted_operations_change_the_letters_they_apply_to() -> None:
    task = parse("Take a a a: shift.")
    children = [OPERATORS["constraints"](task, random.Random(seed)).operations[-1] for seed in range(40)]
    assert {child.arguments[0] for child in children if child.name in ("remove", "replace")} == {"b"}


def test_the_evolver_is_a_pure_function_of_its_arguments() -> None:
    parents = seed_prompts(30, seed=1)
    first = [RuleEvolver().evolve(parent, name, 7) for parent in parents for name in OPERATORS]
    again = [RuleEvolver().evolve(parent, name, 7) for parent in parents for name in OPERATORS]
    other = [RuleEvolver().evolve(parent, name, 8) for parent in parents for name in OPERATORS]
    assert first == again
    assert first != other


def test_children_are_never_held_out_and_nearly_always_new() -> None:
    evolver = RuleEvolver()
    pairs = [
        (parent, evolver.evolve(parent, name, seed))
        for parent in seed_prompts(100, seed=2)
        for name in evolver.operators
        for seed in range(3)
    ]
    assert not any(is_reserved(child) for _, child in pairs if child)
    assert sum(child not in ("", parent) for parent, child in pairs) / len(pairs) > 0.9


@pytest.mark.parametrize("text", ["", "Write a poem.", "Take a: sing.", "\ud800", "Take a: sort. " * 1_000])
def test_a_parent_outside_the_micro_world_has_no_child(text: str) -> None:
    assert RuleEvolver().evolve(text, "breadth", 0) == ""


def test_an_unknown_operator_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown operator 'sing': use one of constraints"):
        RuleEvolver().evolve("Take a: sort.", "sing", 0)
