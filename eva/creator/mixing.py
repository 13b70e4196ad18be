"""mix: draws the solver's batch from the children and a buffer of the pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eva.errors import InputError
from eva.seeds import uniforms


@dataclass(frozen=True, slots=True)
class Mix:
    """Prompt numbers of a batch, ascending; `shortfall` counts the children that were missing to fill it."""

    children: tuple[int, ...]
    buffer: tuple[int, ...]
    shortfall: int

    @property
    def batch(self) -> list[int]:
        return sorted((*self.children, *self.buffer))


def share_of(share: float, size: int) -> int:
    """Returns floor(share * size), correct for products that rounding makes too small: 0.29 of 100 is 29."""
    return int(share * size + 1e-9)


def next_prompts(seeds: Sequence[int], size: int, iteration: int) -> list[int]:
    """Returns the seed prompts that are an iteration's turn, `size` in the order of the file. Raises InputError."""
    turn = [*seeds[iteration * size : (iteration + 1) * size]]
    if len(turn) < size:
        raise InputError(
            f"{len(seeds):,} seed prompts are too few for {iteration + 1} iterations with {size:,} new ones each "
            "(prompts.per_iteration)",
            expected=f"at least {(iteration + 1) * size:,}",
            next_move="Add prompts, or lower iterations or prompts.per_iteration",
        )
    return turn


def mix(
    children: list[int],
    pool: list[int],
    size: int,
    *,
    child_share: float,
    buffer_share: float,
    seed: int,
    iteration: int,
) -> Mix:
    """Draws a batch of `size` prompts: `child_share` of the children and `buffer_share` of the pool, each uniformly.

    Shares are rounded down. The rest of the batch is filled with children, or with prompts of the pool if there are too
    few. The batch has `size` prompts whenever the two sources have as many together.
    """
    buffer_count = min(share_of(buffer_share, size), len(pool), size)
    child_count = min(share_of(child_share, len(children)), size - buffer_count)
    child_count += min(size - buffer_count - child_count, len(children) - child_count)
    shortfall = size - buffer_count - child_count
    buffer_count = min(buffer_count + shortfall, len(pool))
    return Mix(
        children=_uniform(children, child_count, seed, iteration, "mix_children"),
        buffer=_uniform(pool, buffer_count, seed, iteration, "mix_buffer"),
        shortfall=shortfall,
    )


def _uniform(numbers: list[int], count: int, seed: int, iteration: int, purpose: str) -> tuple[int, ...]:
    """Returns `count` of the numbers, drawn uniformly without replacement and independently of their order."""
    if count == 0:
        return ()
    array = np.array(numbers, dtype=np.int64)
    keys = uniforms(seed, iteration, purpose, numbers=array)
    return tuple(sorted(array[np.argsort(keys, kind="stable")[:count]].tolist()))
