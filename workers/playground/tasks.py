"""Seed prompts and held-out sets, each a pure function of a seed.

Which prompts are held out is decided by a hash of the prompt: one in sixteen is reserved.
Held-out sets are drawn from the reserved ones only; seeds, children and the solver's first lessons
never are. So no choice of seed or size can make the sets overlap.
"""

import hashlib
import random
from collections.abc import Callable
from functools import lru_cache

from workers.playground.random_tasks import draw_task
from workers.playground.world import parse, render

SEED_OPERATIONS = {1: 0.50, 2: 0.35, 3: 0.15}
HELDOUT_OPERATIONS = {"easy": (1, 2), "medium": (3,), "hard": (4, 5)}
LETTERS_IN_A_PROMPT = (4, 5, 6)
RESERVED_SHARE = 16
HELDOUT_SEED = 0
HELDOUT_PER_SET = 200


def is_reserved(prompt: str) -> bool:
    """Whether this prompt is reserved for evaluation. Raises PromptError for other texts."""
    canonical = render(parse(prompt))
    return hashlib.sha256(canonical.encode()).digest()[0] % RESERVED_SHARE == 0


def seed_prompts(count: int, seed: int) -> list[str]:
    """Returns distinct seed prompts of a run: 50 % with one operation, 35 % with two, 15 % with three."""
    rng = random.Random(f"seed prompts {seed}")
    operations, shares = tuple(SEED_OPERATIONS), tuple(SEED_OPERATIONS.values())
    return _distinct(count, lambda: rng.choices(operations, shares)[0], rng, reserved=False)


def heldout(seed: int = HELDOUT_SEED, per_set: int = HELDOUT_PER_SET) -> dict[str, list[str]]:
    """Returns distinct held-out prompts per set: easy has 1 or 2 operations, medium 3, hard 4 or 5."""
    sets: dict[str, list[str]] = {}
    for name, operations in HELDOUT_OPERATIONS.items():
        rng = random.Random(f"held out {name} {seed}")
        sets[name] = _distinct(per_set, lambda o=operations, r=rng: r.choice(o), rng, reserved=True)
    return sets


@lru_cache(maxsize=8)
def heldout_texts(seed: int = HELDOUT_SEED, per_set: int = HELDOUT_PER_SET) -> frozenset[str]:
    """Returns all held-out prompts of these sets, to check that none is trained on."""
    return frozenset(text for prompts in heldout(seed, per_set).values() for text in prompts)


def _distinct(count: int, operations: Callable[[], int], rng: random.Random, reserved: bool) -> list[str]:
    """Draws `count` different prompts, all of them reserved or none."""
    found: dict[str, None] = {}
    while len(found) < count:
        prompt = render(draw_task(operations(), rng.choice(LETTERS_IN_A_PROMPT), rng))
        if is_reserved(prompt) == reserved:
            found[prompt] = None
    return list(found)
