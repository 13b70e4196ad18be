"""The budget of one iteration's evolutions: limits, and the spending so far."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from eva.types import Chain, Reply


@dataclass(frozen=True, slots=True)
class SpendingLimits:
    """Limits on attempts, tokens and money; None means no limit."""

    max_attempts: int | None = None
    max_tokens: int | None = None
    max_cost_usd: float | None = None


class Spending:
    """Attempts, tokens and money spent on one iteration's evolutions, shared by all threads that evolve.

    The limit on attempts is exact. Tokens and money are known only when a reply arrives, so replies in flight may pass
    their limits, by at most one reply per chain.
    """

    def __init__(self, limits: SpendingLimits | None = None) -> None:
        self._limits = limits or SpendingLimits()
        self._lock = threading.Lock()
        self._stopped = False
        self.attempts, self.tokens, self.cost_usd = 0, 0, 0.0

    def resume(self, chains: Iterable[Chain]) -> Self:
        """Adds what an earlier driver spent on these chains."""
        for chain in chains:
            self.attempts += len(chain.attempts)
            for attempt in chain.attempts:
                self.charge(attempt.reply)
        return self

    def grant(self) -> bool:
        """Takes one attempt from the budget. Returns False if the budget is used up."""
        with self._lock:
            if self._stopped or self._used_up():
                return False
            self.attempts += 1
            return True

    def charge(self, reply: Reply) -> None:
        """Adds the cost of a reply."""
        with self._lock:
            self.tokens += reply.prompt_tokens + reply.reply_tokens
            self.cost_usd += reply.cost_usd

    def stop(self) -> None:
        """Grants no further attempts, because nobody waits for the children any more."""
        self._stopped = True

    @property
    def used_up(self) -> bool:
        """Whether a limit is reached, or the spending was stopped."""
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
