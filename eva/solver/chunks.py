"""Cuts a batch into the chunks of semi-online training (`training.sync_every`).

The solver trains on a chunk, and answers the next one with its newest weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from eva.seeds import uniforms


@dataclass(frozen=True, slots=True)
class Chunk:
    """Chunk `number` (from 0) of the `of` chunks of a batch. An uncut batch is its own only chunk.

    `prompts`, the `following` chunk's prompts and the whole `batch` ascend. `before` prompts lie in earlier chunks.
    `steps`: the optimiser steps that it takes if each prompt gives one pair.
    """

    prompts: tuple[int, ...]
    number: int = 0
    of: int = 1
    following: tuple[int, ...] = ()
    before: int = 0
    batch: tuple[int, ...] = ()
    steps: int = 0
    cut: bool = False

    @property
    def first(self) -> bool:
        return self.number == 0

    @property
    def last(self) -> bool:
        return self.number == self.of - 1


def cut_batch(
    batch: Sequence[int], size: int | None, steps: Callable[[int], int], *, seed: int, iteration: int
) -> list[Chunk]:
    """Returns the chunks of a batch in the order of training, which is drawn; the last one may be smaller.

    Every prompt is in exactly one chunk.

    Args:
        size: prompts of a chunk (`RunConfig.chunk_prompts`); None leaves the batch whole.
        steps: says how many optimiser steps so many prompts take (`RunConfig.steps_on`).
    """
    if size is None:
        return [Chunk(tuple(batch), batch=tuple(batch))]
    draws_P = uniforms(seed, iteration, "chunk", numbers=np.asarray(batch, dtype=np.int64))
    drawn: list[int] = np.asarray(batch, dtype=np.int64)[np.argsort(draws_P, kind="stable")].tolist()
    starts = range(0, max(len(drawn), 1), size)
    parts = [tuple(sorted(drawn[start : start + size])) for start in starts]
    return [
        Chunk(
            prompts=part,
            number=number,
            of=len(parts),
            following=parts[number + 1] if number + 1 < len(parts) else (),
            before=start,
            batch=tuple(batch),
            steps=steps(len(part)),
            cut=True,
        )
        for number, (start, part) in enumerate(zip(starts, parts, strict=True))
    ]
