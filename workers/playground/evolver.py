"""The evolver of the micro-world: evolves prompts by rules, without a language model."""

import random

from workers.playground.operators import OPERATORS
from workers.playground.tasks import is_reserved
from workers.playground.world import PromptError, parse, render

ATTEMPTS = 8


class RuleEvolver:
    """Stateless: a child depends only on the parent's text, the operator and the seed."""

    operators: tuple[str, ...] = tuple(OPERATORS)

    def evolve(self, prompt_text: str, operator: str, seed: int) -> str:
        """Returns the child prompt, never a held-out one.

        It is "" if the parent is not a prompt of this world, and the parent itself if the operator cannot make it
        harder: the caller refuses both. Raises ValueError for an unknown operator.
        """
        if operator not in OPERATORS:
            raise ValueError(f"unknown operator {operator!r}: use one of {', '.join(OPERATORS)}")
        try:
            task = parse(prompt_text)
        except PromptError:
            return ""
        rng = random.Random(f"{seed} {operator} {render(task)}")
        children = (render(OPERATORS[operator](task, rng)) for _ in range(ATTEMPTS))
        return next((child for child in children if not is_reserved(child)), "")
