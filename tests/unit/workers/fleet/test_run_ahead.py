from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from eva.errors import EngineDiedError
from eva.types import PromptResponses, Request, SamplingSettings
from tests.support.simulated_engines import SimulatedEngines
from workers.fleet.dispatch import Limits, dispatch
from workers.fleet.run_ahead import run_ahead

WAIT_S = 10.0


def counting(seen: list[int], count: int = 100) -> Generator[int]:
    for number in range(count):
        seen.append(number)
        yield number


def until(condition: Any) -> bool:
    """Whether a condition becomes true."""
    deadline = time.monotonic() + WAIT_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    return bool(condition())


def test_the_source_runs_on_while_the_caller_pauses_but_only_so_far() -> None:
    seen: list[int] = []
    ahead = run_ahead(counting(seen), 5, "test")
    assert next(ahead) == 0
    assert until(lambda: len(seen) == 6), "five wait for the caller"
    time.sleep(0.05)
    assert len(seen) == 6
    assert [*ahead] == [*range(1, 100)]


def test_the_caller_gets_the_results_first_and_then_the_sources_error() -> None:
    def failing() -> Generator[int]:
        yield from range(3)
        raise EngineDiedError("all engines died")

    taken: list[int] = []
    with pytest.raises(EngineDiedError):
        taken.extend(run_ahead(failing(), 8, "test"))
    assert taken == [0, 1, 2]


def test_a_caller_that_stops_has_the_source_closed_by_its_own_thread() -> None:
    closed: list[str] = []

    def source() -> Generator[int]:
        try:
            yield from range(100)
        finally:
            closed.append(threading.current_thread().name)

    ahead = run_ahead(source(), 4, "test")
    next(ahead)
    ahead.close()
    assert closed == ["test"]


class Paced(SimulatedEngines):
    """Engines whose every poll takes a moment of real time."""

    def receive(self, timeout_s: float) -> list[Any]:
        time.sleep(0.002)
        return super().receive(timeout_s)


def test_engines_get_new_prompts_while_the_driver_pauses() -> None:
    """Without the thread they would finish their windows and idle until the driver returns."""
    engines = Paced(2, length_of=lambda _: 3)
    asked = [Request(number, "x", 1, 0, SamplingSettings(1.0, 1.0, 8)) for number in range(200)]

    def answers() -> Iterator[PromptResponses]:
        return run_ahead(dispatch(asked, engines, Limits(4, 3, 60.0)), 1000, "fleet")

    results = answers()
    next(results)
    assert until(lambda: len(engines.asked) == 200), "the pause of the driver has stopped the engines"
    assert len([*results]) == 199
