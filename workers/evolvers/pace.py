"""How fast a service may be asked: learnt from its answers, so that no config has to know its limits."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

BEGIN = 16
"""Requests at once until the first answers."""
QUEUEING = 2.0
"""How many times longer than at first an answer takes when requests wait in a queue of the service."""
PERIOD_S = 60.0
"""The time that a limit is for, where the service does not say when it is free again."""
ROUNDING = 1e-6
"""Less than this of a request or a token is not waited for."""
PATIENCE_S = 300.0
"""The longest wait for room. A request that would wait longer is sent, so that the service says what is the matter."""
LOOK_S = 5.0
"""How often a waiting thread looks again, should nothing wake it."""

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")

log = logging.getLogger(__name__)


@dataclass
class Bucket:
    """A limit per time (requests or tokens) as the service reported it: `level` of `capacity` was left at `seen`."""

    capacity: float
    level: float
    per_s: float
    seen: float

    def at(self, now: float) -> float:
        """Returns what is left now."""
        return min(self.capacity, self.level + (now - self.seen) * self.per_s)

    def wait_s(self, now: float, cost: float) -> float:
        """Returns the seconds until `cost` is left; a cost above the capacity waits for a full bucket."""
        missing = min(cost, self.capacity) - self.at(now)
        return missing / self.per_s if missing > ROUNDING else 0.0

    def take(self, now: float, cost: float) -> None:
        self.level, self.seen = self.at(now) - cost, now


@dataclass(frozen=True, slots=True)
class Begun:
    """A request as it began: when, how often the number at once had been halved, and what had been asked till then."""

    at: float
    cuts: int
    asked: Mapping[str, float]


@dataclass
class ServiceLimits:
    """What is known of a service's limits. `now` is in seconds of any clock.

    At first `BEGIN` requests may be on their way at once. Each answer allows one more, if so many were on their way,
    until a request is refused or answers take `QUEUEING` times as long as at first. A refusal halves the number, and
    from then on a whole round of answers allows one more: the congestion control of TCP. Limits per time come from the
    headers x-ratelimit-*, and are kept before they are reached.
    """

    at_once: float = BEGIN
    begun: int = 0
    """Requests on their way."""
    cuts: int = 0
    """How often the number was halved."""
    held_until: float = 0.0
    asked: dict[str, float] = field(default_factory=lambda: {"requests": 0.0, "tokens": 0.0})
    """All requests, and their tokens, so far."""
    buckets: dict[str, Bucket] = field(default_factory=dict[str, Bucket])
    _answers: int = 0
    _first_s: float = 0.0
    _recent_s: float = 0.0

    def wait_s(self, now: float, tokens: int) -> float | None:
        """Returns the seconds until a request of so many tokens may begin; None: after another one has ended."""
        if self.begun >= int(self.at_once):
            return None
        waits = [bucket.wait_s(now, _cost(kind, tokens)) for kind, bucket in self.buckets.items()]
        return max(0.0, self.held_until - now, *(wait for wait in waits if wait <= PATIENCE_S))

    def begin(self, now: float, tokens: int) -> Begun:
        """A request begins. Returns what `answered` and `refused` are told about it."""
        self.begun += 1
        for kind in self.asked:
            self.asked[kind] += _cost(kind, tokens)
        for kind, bucket in self.buckets.items():
            bucket.take(now, _cost(kind, tokens))
        return Begun(now, self.cuts, dict(self.asked))

    def end(self) -> None:
        """A request has ended, however it did."""
        self.begun -= 1

    def answered(self, now: float, begun: Begun, headers: Mapping[str, str]) -> None:
        """A request was answered. A service counts when a request arrives: what was asked since then comes on top."""
        took_s = now - begun.at
        self._answers += 1
        if self._answers <= BEGIN:
            self._first_s += (took_s - self._first_s) / self._answers
        self._recent_s += (took_s - self._recent_s) / min(self._answers, BEGIN)
        if self.begun >= int(self.at_once) and self._recent_s <= QUEUEING * self._first_s:
            self.at_once += 1.0 if self.cuts == 0 else 1.0 / self.at_once
        for kind, asked in self.asked.items():
            if (bucket := _bucket(kind, headers, begun.at)) is not None:
                bucket.take(now, asked - begun.asked[kind])
                self.buckets[kind] = bucket

    def refused(self, now: float, begun: Begun, retry_after_s: float | None) -> None:
        """The service was asked too much. Requests that were on their way at the last cut do not cut again."""
        self.held_until = max(self.held_until, now + min(retry_after_s or 0.0, PATIENCE_S))
        if begun.cuts == self.cuts:
            self.cuts += 1
            self.at_once = max(1.0, self.at_once / 2)
            log.info("the service was asked too much; from now on %d requests at once", int(self.at_once))


class Pace:
    """Turns to ask one service, for as many threads as there are. `now` is a clock, in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._now = ServiceLimits(), now
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, tokens: int) -> Generator[Turn]:
        """Waits until a request of so many tokens (prompt and longest reply) may begin; it ends with the context."""
        with self._changed:
            while (wait_s := self._limits.wait_s(self._now(), tokens)) != 0:
                self._changed.wait(LOOK_S if wait_s is None else min(wait_s, LOOK_S))
            turn = Turn(self._limits, self._changed, self._now, self._limits.begin(self._now(), tokens))
        try:
            yield turn
        finally:
            with self._changed:
                self._limits.end()
                self._changed.notify_all()


class Turn:
    """One request, which tells what became of it."""

    def __init__(
        self, limits: ServiceLimits, changed: threading.Condition, now: Callable[[], float], begun: Begun
    ) -> None:
        self._limits, self._changed, self._now, self._begun = limits, changed, now, begun

    def answered(self, headers: Mapping[str, str]) -> None:
        """The answer came, with these headers."""
        with self._changed:
            self._limits.answered(self._now(), self._begun, headers)

    def refused(self, retry_after_s: float | None) -> None:
        """The service said that it is asked too much, or did not answer in time."""
        with self._changed:
            self._limits.refused(self._now(), self._begun, retry_after_s)


def _cost(kind: str, tokens: int) -> float:
    return float(tokens) if kind == "tokens" else 1.0


def _bucket(kind: str, headers: Mapping[str, str], now: float) -> Bucket | None:
    """The limit of this kind as the headers tell it; None where they do not, or not in numbers."""
    try:
        capacity = float(headers[f"x-ratelimit-limit-{kind}"])
        level = float(headers[f"x-ratelimit-remaining-{kind}"])
    except (KeyError, ValueError):
        return None
    if not 0 < capacity < float("inf") or not level <= capacity:
        return None
    full_s = duration_s(headers.get(f"x-ratelimit-reset-{kind}", ""))
    # a full bucket tells no rate, and neither does one that is full again at once
    per_s = (capacity - level) / full_s if full_s and level < capacity else capacity / PERIOD_S
    return Bucket(capacity, level, per_s, now)


def duration_s(text: str) -> float | None:
    """Returns the seconds of `6m0s`, `1.5s`, `20ms` or a bare number; None for anything else."""
    try:
        return max(0.0, float(text))
    except ValueError:
        found = _DURATION.fullmatch(text) if text else None
    if found is None:
        return None
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in found.groups())
    return 3600 * hours + 60 * minutes + seconds + milliseconds / 1000
