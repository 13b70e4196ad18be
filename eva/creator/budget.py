"""What evolving may cost in one iteration, and what it has cost so far."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from eva.types import Chain, Reply


@dataclass(frozen=True, slots=True)
class SpendingLimits:
    """None is no limit."""

    max_attempts: int | None = None
    max_tokens: int | None = None
    max_cost_usd: float | None = None


class Spending:
    """Attempts, tokens and money of one iteration's evolutions. Shared by all threads that evolve.

    The limit of attempts is exact. Tokens and money are known when a reply is there: what is then in flight
    may pass their limits, by one reply per chain at most.
    """

    def __init__(self, limits: SpendingLimits | None = None) -> None:
        self._limits = limits or SpendingLimits()
        self._lock = threading.Lock()
        self._stopped = False
        self.attempts, self.tokens, self.cost_usd = 0, 0, 0.0

    def resume(self, chains: Iterable[Chain]) -> Self:
        """Count what an earlier driver spent on these chains."""
        for chain in chains:
            self.attempts += len(chain.attempts)
            for attempt in chain.attempts:
                self.charge(attempt.reply)
        return self

    def grant(self) -> bool:
        """Take one attempt out of the budget; False when it is used up."""
        with self._lock:
            if self._stopped or self._used_up():
                return False
            self.attempts += 1
            return True

    def charge(self, reply: Reply) -> None:
        """Count what a reply cost."""
        with self._lock:
            self.tokens += reply.prompt_tokens + reply.reply_tokens
            self.cost_usd += reply.cost_usd

    def stop(self) -> None:
        """Grant nothing more: nobody waits for the children."""
        self._stopped = True

    @property
    def used_up(self) -> bool:
        """Whether a limit is reached."""
        with self._lock:
            return self._stopped or self._used_up()

    def _used_up(self) -> bool:
        limits = self._limits
        pairs = (
            (self.attempts, limits.max_attempts),
            (self.tokens, limits.max_tokens),
            (self.cost_usd, limits.max_cost_usd),
        )
        return any(limit is not None and spent >= limit for spent, limit in pairs)
