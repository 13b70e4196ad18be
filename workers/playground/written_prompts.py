"""How a language model writes prompts of the micro-world: what it is asked, and how its reply is read.

The playground's models know the world's words and no others. So an instruction is one of these words, which stands
for the operator, and the parent: `then ; Take k d b p: reverse.` asks for one more step.
"""

import random
import re

from workers.playground.evolver import RuleEvolver
from workers.playground.lazy_writer import CHAIN_SHARES, LETTER_SHARES
from workers.playground.operators import OPERATORS
from workers.playground.random_tasks import draw_task
from workers.playground.tasks import is_reserved
from workers.playground.world import PromptError, parse, render

WORDS = {
    "constraints": "remove",
    "deepening": "add",
    "concretizing": "replace",
    "reasoning": "then",
    "breadth": "nothing",
}
"""Operator: the word that asks for it."""

UNREADABLE, RESERVED = "unreadable", "reserved"
"""Why a reply is no child: not a prompt of this world, or reserved for evaluation."""


def instruction(parent: str, operator: str) -> str:
    """Returns what the writer is asked. Raises ValueError for an unknown operator."""
    if operator not in WORDS:
        raise ValueError(f"unknown operator {operator!r}: use one of {', '.join(WORDS)}")
    return f"{WORDS[operator]} ; {parent}"


def read_prompt(reply: str) -> tuple[str, str | None]:
    """Returns the prompt that a reply states, and why it is no child: UNREADABLE, RESERVED or None.

    The tokenizer puts blanks before punctuation marks. A text that is no prompt comes back as it is.
    """
    text = re.sub(r"\s+([:,.;])", r"\1", reply.strip())
    try:
        prompt = render(parse(text))
    except PromptError:
        return text, UNREADABLE
    return prompt, RESERVED if is_reserved(prompt) else None


def draw_writing_lesson(rng: random.Random) -> tuple[str, str]:
    """Draws (instruction, child) where the rules' evolver wrote the child of a random parent; none is held out."""
    evolver = RuleEvolver()
    while True:
        operations = rng.choices(tuple(CHAIN_SHARES), tuple(CHAIN_SHARES.values()))[0]
        letters = rng.choices(tuple(LETTER_SHARES), tuple(LETTER_SHARES.values()))[0]
        parent = render(draw_task(operations, letters, rng))
        operator = rng.choice(tuple(OPERATORS))
        child = evolver.evolve(parent, operator, rng.getrandbits(63))
        if child not in ("", parent) and not is_reserved(parent):
            return instruction(parent, operator), child
