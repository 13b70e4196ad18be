"""Draws and caches maps of prompts: one at a time, each once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from sqlalchemy import Connection

from eva.prompt_map.projection import MapFidelity, PromptMap, fit_map, measure_map, place_on_map, select_prompts
from eva.prompt_map.tfidf import LONGEST, Reals
from eva.types import Ints
from store.rows import RunRow
from store.views.population.prompt_map import MappedPrompt, read_births, read_mapped
from store.views.report import read_infos

POINTS, LANDMARKS, UNTIL = 10_000, 1_000, 3
"""The most prompts of a map, the most landmarks, and the last iteration whose prompts are landmarks."""
KEPT = 8
STARTS = 160
V = TypeVar("V")
Reading = Callable[[], AbstractContextManager[Connection]]


@dataclass(frozen=True, slots=True, eq=False)
class DrawnMap:
    """A map of the prompts that a run made before `iteration`. Shapes as in eva.prompt_map; texts are shortened."""

    iteration: int
    total: int
    prompts: tuple[MappedPrompt, ...]
    infos_P: tuple[float | None, ...]
    places_P_2: Reals
    landmarks: int
    kept: MapFidelity | None
    kept_later: MapFidelity | None

    @property
    def settled(self) -> bool:
        """Whether all iterations with landmarks have been played, so that no prompt moves any more."""
        return self.iteration > UNTIL

    def inside(self, left: float, low: float, right: float, high: float) -> list[int]:
        """The numbers of the prompts in an area."""
        across_P, up_P = self.places_P_2[:, 0], self.places_P_2[:, 1]
        inside_P = (across_P >= left) & (across_P <= right) & (up_P >= low) & (up_P <= high)
        return [prompt.number for prompt, is_inside in zip(self.prompts, inside_P, strict=True) if is_inside]


@dataclass(slots=True)
class MapCache:
    """The maps that were requested last. While one request draws a map, the others wait for it."""

    _drawn: OrderedDict[tuple[int, int], DrawnMap] = field(default_factory=OrderedDict)
    _fitted: OrderedDict[tuple[int, int], PromptMap] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, run: RunRow, reading: Reading) -> DrawnMap:
        """The map of the iterations that the run has finished; drawn if it is not cached."""
        key = run.id, run.iteration
        with self._lock:
            return _cached(self._drawn, key, lambda: self._draw(run, reading))

    def _draw(self, run: RunRow, reading: Reading) -> DrawnMap:
        with reading() as conn:
            births = read_births(conn, run.id, run.iteration)
            landmarks = select_prompts([birth for birth in births if birth.born <= UNTIL], LANDMARKS)
            fitted_on = read_mapped(conn, run.id, _list(landmarks), LONGEST)
            shown = read_mapped(conn, run.id, _list(select_prompts(births, POINTS)), LONGEST)
            infos = read_infos(conn, run.id, [prompt.number for prompt in shown])
        fitted = _cached(
            self._fitted,
            (run.id, min(run.iteration, UNTIL + 1)),
            lambda: fit_map([prompt.text for prompt in fitted_on]),
        )
        texts = [prompt.text for prompt in shown]
        places_P_2 = np.round(place_on_map(texts, fitted), 4)
        later = [row for row, prompt in enumerate(shown) if prompt.born > UNTIL]
        return DrawnMap(
            run.iteration,
            sum(birth.count for birth in births),
            tuple(MappedPrompt(prompt.number, prompt.text[:STARTS], prompt.born, prompt.operator) for prompt in shown),
            tuple(infos.get(prompt.number) for prompt in shown),
            places_P_2,
            len(landmarks),
            measure_map(texts, places_P_2, fitted),
            measure_map([texts[row] for row in later], places_P_2[later], fitted),
        )


def _list(numbers: Ints) -> list[int]:
    return [int(number) for number in numbers]


def _cached(cache: OrderedDict[tuple[int, int], V], key: tuple[int, int], make: Callable[[], V]) -> V:
    """Returns a cached value, or makes it. The least recently used one is dropped first."""
    if key not in cache:
        cache[key] = make()
    cache.move_to_end(key)
    while len(cache) > KEPT:
        cache.popitem(last=False)
    return cache[key]
