"""Which prompts a map shows: all, or as many of each iteration as there is room for, always the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eva.measures.ngrams import mixed
from eva.types import Ints


@dataclass(frozen=True, slots=True)
class Births:
    """The prompts of one iteration (-1: seeds), which are numbered one after another."""

    born: int
    first: int
    count: int


def sampled(births: Sequence[Births], most: int) -> Ints:
    """Numbers of at most so many prompts, in order: every iteration has the same room, and gives what it does not
    need to the others. Of an iteration, less room shows some of those that more room shows."""
    room = most
    chosen: list[Ints] = []
    for left, one in zip(range(len(births), 0, -1), sorted(births, key=lambda one: (one.count, one.born)), strict=True):
        numbers = np.arange(one.first, one.first + one.count)
        keep = min(one.count, room // left)
        if keep < one.count:
            order = np.argsort(mixed(numbers.astype(np.uint64)), kind="stable")
            numbers = numbers[order[:keep]]
        chosen.append(numbers)
        room -= keep
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, np.int64)
