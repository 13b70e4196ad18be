from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eva.errors import EngineDiedError
from eva.types import PromptResponses, Request, SamplingSettings
from tests.support.simulated_engines import SimulatedEngines, Speed, answer_of, skewed_length
from workers.fleet.dispatch import POISON_DEATHS, EngineTime, Ledger, Limits, dispatch, new_ledger, run_requests
from workers.fleet.recovery import Recovery

SAMPLING = SamplingSettings(0.7, 0.9, 64)


def requests_of(count: int) -> list[Request]:
    return [Request(number, f"prompt {number}", 2, 100 * number, SAMPLING) for number in range(count)]


def limits_of(window: int = 8, restarts: int = 3, stall_s: float = 60.0) -> Limits:
    return Limits(window, restarts, stall_s)


class Once:
    """True the first time that a prompt of `numbers` is seen, and never again."""

    def __init__(self, numbers: set[int], times: int = 1) -> None:
        self.numbers, self.left = numbers, times

    def __call__(self, request: Request) -> bool:
        hit = request.number in self.numbers and self.left > 0
        self.left -= hit
        return hit


@given(count=st.integers(0, 90), engines=st.integers(1, 5), window=st.integers(1, 12), batch=st.integers(1, 9))
def test_every_request_is_answered_once_for_any_number_of_engines_and_prompts(
    count: int, engines: int, window: int, batch: int
) -> None:
    asked = requests_of(count)
    fleet = SimulatedEngines(engines, speed=Speed(batch=batch), length_of=lambda r: 1 + r.number % 7)
    answered = list(dispatch(asked, fleet, limits_of(window)))
    assert sorted(answered, key=lambda a: a.number) == [answer_of(request) for request in asked]
    assert Counter(number for _, number in fleet.asked) == dict.fromkeys(range(count), 1)
    assert fleet.most_in_flight <= window


@given(
    # a prompt that happens to be there at more deaths than that is rightly given up
    deaths=st.lists(st.integers(0, 40), max_size=POISON_DEATHS - 1, unique=True),
    engines=st.integers(1, 3),
    window=st.integers(1, 10),
)
def test_every_request_is_answered_once_when_engines_die_on_the_way(
    deaths: list[int], engines: int, window: int
) -> None:
    asked = requests_of(41)
    kills = [Once({number}) for number in deaths]
    fleet = SimulatedEngines(engines, kills=lambda r: any(kill(r) for kill in kills))
    answered = list(dispatch(asked, fleet, limits_of(window)))
    assert sorted(answered, key=lambda a: a.number) == [answer_of(request) for request in asked]


def test_only_prompts_in_flight_are_sent_again_when_an_engine_dies() -> None:
    fleet = SimulatedEngines(2, kills=Once({20}))
    answered = list(dispatch(requests_of(60), fleet, limits_of(window=5)))
    times = Counter(number for _, number in fleet.asked)
    again = [number for number, count in times.items() if count > 1]
    assert len(answered) == 60
    assert fleet.replacements == [fleet.asked[[n for _, n in fleet.asked].index(20)][0]]
    assert 20 in again and len(again) <= 5


def test_the_other_engine_works_on_while_one_is_replaced() -> None:
    fleet = SimulatedEngines(2, kills=Once({0}), start_s=1e6)
    answered = list(dispatch(requests_of(50), fleet, limits_of()))
    assert len(answered) == 50
    assert fleet.now() < 1e6


def test_an_engine_that_finishes_nothing_for_too_long_is_replaced() -> None:
    fleet = SimulatedEngines(2, hangs=Once({3}, times=100))
    answered = list(dispatch(requests_of(30), fleet, limits_of(stall_s=60)))
    assert len(answered) == 30 and not any(a.failure for a in answered)
    assert fleet.replacements == [1]


def test_a_slow_caller_does_not_make_an_engine_look_dead() -> None:
    fleet = SimulatedEngines(2)
    answers = dispatch(requests_of(40), fleet, limits_of(stall_s=5))
    seen = 0
    for _ in answers:
        fleet._clock += 100
        seen += 1
    assert seen == 40 and not fleet.replacements


def test_replacements_are_bounded() -> None:
    fleet = SimulatedEngines(1, kills=lambda _: True)
    with pytest.raises(EngineDiedError, match=r"it crashed.*after 2 replacements.*fleet\.restarts"):
        list(dispatch(requests_of(10), fleet, limits_of(restarts=2)))
    assert len(fleet.replacements) == 2


def test_a_prompt_that_kills_every_engine_comes_back_as_a_failure_and_takes_no_other_with_it() -> None:
    fleet = SimulatedEngines(2, kills=lambda r: r.number == 11)
    answered = list(dispatch(requests_of(40), fleet, limits_of(window=6)))
    failed = [a for a in answered if a.failure]
    assert [a.number for a in failed] == [11]
    assert "3 engines died" in (failed[0].failure or "") and failed[0].responses == ()
    assert Counter(a.number for a in answered) == dict.fromkeys(range(40), 1)


def test_requests_are_pulled_only_as_windows_have_room() -> None:
    pulled = 0

    def source() -> Iterator[Request]:
        nonlocal pulled
        for request in requests_of(1000):
            pulled += 1
            yield request

    answers = dispatch(source(), SimulatedEngines(2), limits_of(window=4))
    next(answers)
    assert pulled == 8
    answers.close()


def test_few_prompts_are_spread_over_all_engines() -> None:
    ledger = Ledger(iter(requests_of(5)), 3, limits_of(window=64), {0, 1, 2}, lambda slot: 8)
    assert {slot: len(tasks) for slot, tasks in ledger.fill().items()} == {0: 2, 1: 2, 2: 1}


def test_what_is_in_flight_is_dropped_when_the_caller_stops() -> None:
    fleet = SimulatedEngines(2)
    answers = dispatch(requests_of(100), fleet, limits_of())
    next(answers)
    answers.close()
    assert sorted(fleet.forgotten) == [0, 1]


def test_results_that_are_no_longer_owed_are_ignored() -> None:
    ledger = Ledger(iter(requests_of(1)), 1, limits_of(), {0}, lambda slot: 8)
    ticket, request = ledger.fill()[0][0]
    answers: list[tuple[int, PromptResponses]] = [
        (ticket, answer_of(request)),
        (ticket, answer_of(request)),
        (99, answer_of(request)),
    ]
    assert ledger.finish(0, answers) == [answer_of(request)]
    assert ledger.done and ledger.fill() == {}


def test_pulled_prompts_keep_skewed_engines_even() -> None:
    asked = requests_of(1500)
    alone, two = SimulatedEngines(1), SimulatedEngines(2)
    for fleet in (alone, two):
        assert len(list(dispatch(asked, fleet, limits_of(window=64)))) == 1500
    assert max(skewed_length(r) for r in asked) > 10 * skewed_length(asked[0])
    assert two.now() / (alone.now() / 2) < 1.10


@pytest.mark.parametrize(("prompts", "busy", "filled"), [(1, 1 / 2, 1 / 8), (400, 1.0, 1.0)])
def test_engine_time_is_weighted_by_prompts_in_flight(prompts: int, busy: float, filled: float) -> None:
    fleet, time, limits = SimulatedEngines(2), EngineTime(), limits_of(window=4)
    time.begin()
    for _ in run_requests(
        new_ledger(requests_of(prompts), fleet, limits), fleet, Recovery(fleet, restarts=1, backoff_s=1, room_s=1), time
    ):
        pass
    told = time.readings()
    assert told["engine_ms"] == pytest.approx(2000 * fleet.now(), abs=1)
    assert told["engine_busy_ms"] / told["engine_ms"] == pytest.approx(busy, abs=0.05)
    assert told["engine_filled_ms"] / told["engine_ms"] == pytest.approx(filled, abs=0.1)


@pytest.mark.parametrize(("temperature", "prompts"), [(0.7, 8), (0.0, 16)])
def test_a_window_left_to_the_engines_holds_twice_the_sequences_that_they_work_on(
    temperature: float, prompts: int
) -> None:
    """Eight at once here; each prompt has two, which are one if they are greedy."""
    sampling = SamplingSettings(temperature, 1.0, 8)
    asked = [Request(number, "x", 2, 0, sampling) for number in range(100)]
    ledger = Ledger(iter(asked), 1, Limits(None, 3, 60.0), {0}, lambda slot: 8)
    tasks = ledger.fill()[0]
    assert len(tasks) == prompts and ledger.fill() == {}
    ticket, request = tasks[0]
    ledger.finish(0, [(ticket, answer_of(request))])
    assert len(ledger.fill()[0]) == 1
    ledger.lose(0, "it crashed")
    ledger.ready(0)
    assert len(ledger.fill()[0]) == prompts
