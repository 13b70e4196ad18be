"""Random tasks of the micro-world. All randomness comes from the generator that is passed in."""

import random

from workers.playground.world import ARITY, LETTERS, Letters, Operation, Task

NAMES = tuple(ARITY)


def draw_letters(count: int, rng: random.Random) -> Letters:
    return tuple(rng.choices(LETTERS, k=count))


def draw_operation(name: str, letters: Letters, rng: random.Random) -> Operation:
    """Draws an operation of this name that changes these letters: what it removes or replaces is among them."""
    if ARITY[name] == 0:
        return Operation(name)
    if name == "add":
        return Operation(name, (rng.choice(LETTERS),))
    target = rng.choice(letters or tuple(LETTERS))
    if name == "remove":
        return Operation(name, (target,))
    return Operation(name, (target, rng.choice(LETTERS.replace(target, ""))))


def draw_chain(names: tuple[str, ...], letters: Letters, rng: random.Random) -> tuple[Operation, ...]:
    """Draws one operation per name, each for the letters that the earlier ones leave."""
    chain: list[Operation] = []
    for name in names:
        operation = draw_operation(name, letters, rng)
        letters = operation.apply(letters)
        chain.append(operation)
    return tuple(chain)


def draw_task(operations: int, letters: int, rng: random.Random) -> Task:
    """Draws a task with this many operations and letters; the operations' names are equally likely."""
    start = draw_letters(letters, rng)
    names = tuple(rng.choices(NAMES, k=operations))
    return Task(start, draw_chain(names, start, rng))
