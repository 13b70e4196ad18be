"""The operators of the micro-world: each makes a new task from a task alone.

They bear the names of the evolving prompts that they stand for. *Reasoning* asks for one more step,
*deepening* asks the same of more letters; what an operator cannot raise any further (six operations,
fourteen letters, only demanding operations) comes back unchanged, for the caller to refuse.
"""

import random
from collections.abc import Callable
from dataclasses import replace

from workers.playground.random_tasks import draw_chain, draw_letters, draw_operation
from workers.playground.world import (
    EFFORT,
    MAX_LETTERS,
    MAX_OPERATIONS,
    Letters,
    Operation,
    Task,
    results,
)

Operator = Callable[[Task, random.Random], Task]

CONSTRAINTS = ("remove", "replace", "unique")
STEPS = tuple(name for name in EFFORT if name != "keep")


def constraints(task: Task, rng: random.Random) -> Task:
    """Adds a condition on the result's letters: one removed, one replaced, or none twice."""
    return _insert(task, len(task.operations), rng.choice(CONSTRAINTS), rng)


def reasoning(task: Task, rng: random.Random) -> Task:
    """Adds an operation anywhere in the chain."""
    return _insert(task, rng.randint(0, len(task.operations)), rng.choice(STEPS), rng)


def deepening(task: Task, rng: random.Random) -> Task:
    """Adds one or two letters anywhere in the input, which makes every step longer."""
    letters = list(task.letters)
    for letter in draw_letters(min(rng.randint(1, 2), MAX_LETTERS - len(letters)), rng):
        letters.insert(rng.randint(0, len(letters)), letter)
    return replace(task, letters=tuple(letters))


def concretizing(task: Task, rng: random.Random) -> Task:
    """Replaces an operation by a harder one."""
    hardest = max(EFFORT.values())
    places = [i for i, operation in enumerate(task.operations) if EFFORT[operation.name] < hardest]
    if not places:
        return task
    place = rng.choice(places)
    effort = EFFORT[task.operations[place].name]
    name = rng.choice([name for name, own in EFFORT.items() if own > effort])
    harder = draw_operation(name, _letters_before(task, place), rng)
    return replace(task, operations=(*task.operations[:place], harder, *task.operations[place + 1 :]))


def breadth(task: Task, rng: random.Random) -> Task:
    """Makes a new task of equal difficulty: other letters, operations of equal effort in another order."""
    efforts = [EFFORT[operation.name] for operation in task.operations]
    rng.shuffle(efforts)
    names = tuple(rng.choice([name for name, own in EFFORT.items() if own == effort]) for effort in efforts)
    letters = draw_letters(len(task.letters), rng)
    return Task(letters, draw_chain(names, letters, rng))


def _letters_before(task: Task, place: int) -> Letters:
    return (task.letters, *results(task))[place]


def _insert(task: Task, place: int, name: str, rng: random.Random) -> Task:
    """Adds an operation at this position. A task with a full chain is returned unchanged."""
    if len(task.operations) >= MAX_OPERATIONS:
        return task
    added: Operation = draw_operation(name, _letters_before(task, place), rng)
    return replace(task, operations=(*task.operations[:place], added, *task.operations[place:]))


IN_DEPTH = ("constraints", "deepening", "concretizing", "reasoning")
IN_BREADTH = ("breadth",)
OPERATORS: dict[str, Operator] = {
    "constraints": constraints,
    "deepening": deepening,
    "concretizing": concretizing,
    "reasoning": reasoning,
    "breadth": breadth,
}
