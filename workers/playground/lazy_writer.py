"""The writer that the solver first learned from: its steps are correct, but it tends to stop early.

The longer a chain, the more likely the writer omits the rest. So the first policy can solve long chains but rarely
does. Preferences can bring that out, which makes regret informative.
"""

import random

from workers.playground.random_tasks import draw_task
from workers.playground.tasks import is_reserved
from workers.playground.world import EFFORT, Task, render, solve, write_steps

STOP_AFTER_STEP = (0.12, 0.42, 0.64, 0.80, 0.90)
LABORIOUS_EFFORT = 2
CHAIN_SHARES = {1: 0.25, 2: 0.25, 3: 0.20, 4: 0.15, 5: 0.10, 6: 0.05}
# Longer than a seed prompt's letters, so that the solver can copy what evolved prompts ask for.
LETTER_SHARES = {2: 1, 3: 2, 4: 4, 5: 4, 6: 4, 7: 2, 8: 2, 9: 1, 10: 1}


def stop_probability(step: int, next_operation: str) -> float:
    """Probability of stopping after this many steps; the odds double before laborious operations, otherwise halve."""
    probability = STOP_AFTER_STEP[step - 1]
    odds = probability / (1 - probability)
    odds *= 2.0 if EFFORT[next_operation] >= LABORIOUS_EFFORT else 0.5
    return odds / (1 + odds)


def write(task: Task, rng: random.Random) -> str:
    """Writes a response with correct steps that may stop early."""
    for step, operation in enumerate(task.operations[1:], start=1):
        if rng.random() < stop_probability(step, operation.name):
            return write_steps(task, step)
    return solve(task)


def draw_lesson(rng: random.Random) -> tuple[str, str]:
    """Draws (prompt, lazy response), never with a held-out prompt."""
    while True:
        operations = rng.choices(tuple(CHAIN_SHARES), tuple(CHAIN_SHARES.values()))[0]
        letters = rng.choices(tuple(LETTER_SHARES), tuple(LETTER_SHARES.values()))[0]
        task = draw_task(operations, letters, rng)
        if not is_reserved(render(task)):
            return render(task), write(task, rng)
