"""The pace at which a service is asked, on simulated services: virtual time, no threads but in the last test."""

from __future__ import annotations

import heapq
import random
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from workers.evolvers.pace import BEGIN, PATIENCE_S, Begun, Bucket, Pace, ServiceLimits, duration_s

THREADS = 128


@dataclass
class Service:
    """Answers in about `latency_s`; refuses more than `most` requests at once, or per minute; queues beyond `slots`."""

    latency_s: float = 1.0
    most: int = 10**6
    slots: int = 10**6
    per_minute: int = 0
    tokens_per_minute: int = 0
    refused: int = 0
    at_once: int = 0
    peak: int = 0
    left: Bucket | None = None
    tokens: Bucket | None = None
    free_at: list[float] = field(default_factory=list[float])
    drawn: random.Random = field(default_factory=lambda: random.Random(7))

    def __post_init__(self) -> None:
        if self.per_minute:
            self.left = Bucket(self.per_minute, self.per_minute, self.per_minute / 60, 0.0)
        if self.tokens_per_minute:
            self.tokens = Bucket(self.tokens_per_minute, self.tokens_per_minute, self.tokens_per_minute / 60, 0.0)

    def ask(self, now: float, tokens: int) -> tuple[float, dict[str, str] | None]:
        """Returns when the answer comes and its headers; None for a refusal."""
        self.at_once += 1
        self.peak = max(self.peak, self.at_once)
        known = [(kind, one) for kind, one in (("requests", self.left), ("tokens", self.tokens)) if one is not None]
        costs = {"requests": 1, "tokens": tokens}
        if self.at_once > self.most or any(one.at(now) < costs[kind] for kind, one in known):
            self.refused += 1
            return now + 0.05, None
        for kind, one in known:
            one.take(now, costs[kind])
        headers = {
            f"x-ratelimit-{name}-{kind}": value
            for kind, one in known
            for name, value in (
                ("limit", str(int(one.capacity))),
                ("remaining", str(int(one.level))),
                ("reset", f"{(one.capacity - one.level) / one.per_s:.3f}s"),
            )
        }
        if len(self.free_at) >= self.slots:
            now = max(now, heapq.heappop(self.free_at))
        done = now + self.latency_s * self.drawn.uniform(0.7, 1.3)
        heapq.heappush(self.free_at, done)
        return done, headers


def play(service: Service, requests: int, tokens: int = 100) -> tuple[float, ServiceLimits]:
    """Asks everything, each refused request again, and returns the seconds that it took."""
    limits, now, waiting, asked = ServiceLimits(), 0.0, requests, 0
    ends: list[tuple[float, int, Begun, Mapping[str, str] | None]] = []
    while waiting or ends:
        wait_s = limits.wait_s(now, tokens) if waiting and len(ends) < THREADS else None
        if wait_s == 0:
            waiting -= 1
            begun = limits.begin(now, tokens)
            done, headers = service.ask(now, tokens)
            asked += 1
            heapq.heappush(ends, (done, asked, begun, headers))
            continue
        if wait_s is not None and (not ends or now + wait_s < ends[0][0]):
            now += wait_s
            continue
        now, _, begun, headers = heapq.heappop(ends)
        service.at_once -= 1
        if headers is None:
            limits.refused(now, begun, None)
            waiting += 1
        else:
            limits.answered(now, begun, headers)
        limits.end()
    return now, limits


def test_a_service_without_limits_is_asked_by_all_threads_within_some_answers() -> None:
    took_s, _ = play(Service(), 10_000)
    assert took_s < 1.15 * 10_000 / THREADS


@pytest.mark.parametrize(("most", "refused"), [(3, 0.2), (20, 0.1), (60, 0.05)])
def test_a_limit_on_requests_at_once_is_found_and_nearly_reached_with_few_refusals(most: int, refused: float) -> None:
    service = Service(most=most)
    took_s, _ = play(service, 3_000)
    assert took_s < 1.5 * 3_000 / most
    assert service.refused < refused * 3_000


def test_a_limit_per_minute_is_kept_once_it_is_known() -> None:
    service = Service(per_minute=600)
    took_s, _ = play(service, 3_000)
    assert service.refused == 0
    assert took_s < 1.05 * (3_000 - 600) / 10


def test_a_limit_on_tokens_is_kept_too() -> None:
    service = Service(tokens_per_minute=60_000)
    took_s, _ = play(service, 2_000, tokens=100)
    assert service.refused == 0
    assert took_s < 1.05 * (200_000 - 60_000) / 1_000


def test_a_service_that_queues_is_not_buried_in_requests() -> None:
    """A small server of one's own: more requests at once only wait longer, until they take longer than they may."""
    service = Service(slots=16)
    took_s, _ = play(service, 2_000)
    assert took_s < 1.1 * 2_000 / 16
    assert service.peak <= 5 * 16


def test_a_refusal_counts_once_for_all_requests_that_were_on_their_way() -> None:
    limits = ServiceLimits()
    begun = [limits.begin(0.0, 1) for _ in range(BEGIN)]
    for one in begun:
        limits.refused(1.0, one, None)
    assert limits.at_once == BEGIN / 2 and limits.cuts == 1
    for _ in begun:
        limits.end()
    limits.refused(2.0, limits.begin(1.5, 1), 30.0)
    limits.end()
    assert limits.at_once == BEGIN / 4
    assert limits.wait_s(3.0, 1) == 29.0, "the service said when to come back"


def test_a_day_is_not_waited_for_in_silence() -> None:
    limits = ServiceLimits()
    used_up = {"limit": "100", "remaining": "0", "reset": "23h59m0s"}
    told = {f"x-ratelimit-{name}-requests": value for name, value in used_up.items()}
    limits.answered(1.0, limits.begin(0.0, 1), told)
    limits.end()
    assert limits.wait_s(2.0, 1) == 0, "the service refuses it, and the refusal is told"
    limits.refused(3.0, limits.begin(2.0, 1), 86_000.0)
    limits.end()
    assert limits.wait_s(3.0, 1) == PATIENCE_S


def test_few_threads_do_not_widen_what_they_never_use() -> None:
    limits = ServiceLimits()
    for _ in range(1_000):
        limits.answered(1.0, limits.begin(0.0, 1), {})
        limits.end()
    assert limits.at_once == BEGIN


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("6m0s", 360), ("1.5s", 1.5), ("20ms", 0.02), ("1h2m3s", 3723), ("7", 7), ("-3", 0), ("", None), ("soon", None)],
)
def test_resets_are_read_in_every_form_that_services_write(text: str, seconds: float | None) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize(
    "headers",
    [
        {"limit": "many", "remaining": "5"},
        {"limit": "0", "remaining": "0"},
        {"limit": "nan", "remaining": "1"},
        {"limit": "inf", "remaining": "1"},
        {"limit": "5", "remaining": "9"},
        {"limit": "5"},
    ],
)
def test_headers_that_make_no_sense_are_no_limit(headers: dict[str, str]) -> None:
    limits = ServiceLimits()
    limits.answered(
        1.0, limits.begin(0.0, 1), {f"x-ratelimit-{name}-requests": value for name, value in headers.items()}
    )
    assert limits.buckets == {}


def test_threads_wait_for_their_turn_and_one_that_fails_gives_its_own_back() -> None:
    pace, together, most = Pace(), threading.Semaphore(BEGIN), threading.Lock()

    def ask(number: int) -> None:
        with pace.turn(1) as turn:
            assert together.acquire(blocking=False), "more at once than allowed"
            try:
                if number % 3 == 0:
                    raise ConnectionError
                with most:
                    turn.refused(None)
            finally:
                together.release()

    with ThreadPoolExecutor(THREADS) as threads:
        asked = [threads.submit(ask, number) for number in range(500)]
    assert sum(isinstance(one.exception(), ConnectionError) for one in asked) == 167
    assert sum(one.exception() is None for one in asked) == 333
