"""Rewards from a user's function, even if it raises, hangs or returns nonsense.

Only the response that caused it stays without a reward, with the reason. A call that takes longer than `timeout_s` is
stopped:
- sync, in the main thread (as in the actor): by the signal of an interval timer, which ends sleeps,
  loops and regular expressions; the function may use `signal.alarm` itself, as math-verify does;
- sync, in another thread (LocalRewarder only): its thread is abandoned;
- async: its task is cancelled.
If that does not help (C code that never returns, an async function that blocks its event loop), the actor's watchdog
ends the process.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from types import FrameType
from typing import Any

from eva.config import VerifierReward
from eva.runtime.user_functions import load_function, takes
from eva.types import Reward
from workers.rewards.model import Alive, RewardRequest, reason

UserFunction = Callable[..., Any]

EXPECTED = (
    "`module:function`, a function (prompt: str, response: str) -> float, sync or async; it may also take "
    "`context`, the messages before the prompt"
)

_REPEAT_S = 1.0

Arguments = tuple[str, dict[str, Any]]
"""The prompt, and the function's other arguments by name."""


class _TimedOut(BaseException):
    """Not an Exception, so that the user's `except Exception` lets it through."""


class VerifierModel:
    """The user's function as a reward model."""

    def __init__(self, config: VerifierReward) -> None:
        self._timeout_s, self._concurrency = config.timeout_s, config.concurrency
        self._function = check_function(config.function)
        self._takes_context = takes(self._function, "context")
        self._loop = asyncio.Runner() if is_async(self._function) else None

    @staticmethod
    def name_of(config: VerifierReward) -> str:
        return f"verifier:{config.function}"

    @staticmethod
    def check(config: VerifierReward) -> None:
        """Raises ConfigError if the function cannot be imported or called."""
        check_function(config.function)

    @property
    def patience_s(self) -> float:
        return 1.5 * self._timeout_s + 1.0

    def reward_many(self, requests: Sequence[RewardRequest], alive: Alive) -> list[tuple[Reward, ...]]:
        """Rewards all responses; an async function is called for up to `concurrency` of them at a time."""
        flat = [(self._arguments(request), response) for request in requests for response in request.responses]
        together = self._loop.run(self._all_async(flat, alive)) if self._loop else self._all_sync(flat, alive)
        rewards = iter(together)
        return [tuple(next(rewards) for _ in request.responses) for request in requests]

    def close(self) -> None:
        if self._loop:
            self._loop.close()

    def _arguments(self, request: RewardRequest) -> Arguments:
        """Returns the function's arguments apart from the response."""
        if not self._takes_context:
            return request.prompt, {}
        return request.prompt, {"context": [asdict(message) for message in request.context]}

    def _all_sync(self, flat: Sequence[tuple[Arguments, str]], alive: Alive) -> Iterator[Reward]:
        in_main_thread = threading.current_thread() is threading.main_thread()
        reward = _reward_under_alarm if in_main_thread else _reward_in_thread
        for (prompt, named), response in flat:
            alive()
            yield reward(partial(self._function, **named), prompt, response, self._timeout_s)

    async def _all_async(self, flat: Sequence[tuple[Arguments, str]], alive: Alive) -> list[Reward]:
        slots = asyncio.Semaphore(self._concurrency)

        async def one(arguments: Arguments, response: str) -> Reward:
            prompt, named = arguments
            async with slots:
                reward = await _reward_async(partial(self._function, **named), prompt, response, self._timeout_s)
                alive()
                return reward

        return await asyncio.gather(*(one(arguments, response) for arguments, response in flat))


def check_function(spec: str) -> UserFunction:
    """Returns the reward function that `module:function` names. Raises ConfigError when it cannot be used."""
    return load_function(
        spec, what="reward function", expected=EXPECTED, arguments=["prompt", "response"], named=["context"]
    )


def is_async(function: UserFunction) -> bool:
    """Whether calling it gives a coroutine; objects with an async `__call__` included."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004, the attribute itself is looked at
    )


def _reward_under_alarm(function: UserFunction, prompt: str, response: str, timeout_s: float) -> Reward:
    before = signal.signal(signal.SIGALRM, _ring) or signal.SIG_DFL
    try:
        # The alarm repeats every second, in case the user's code swallows the first.
        signal.setitimer(signal.ITIMER_REAL, timeout_s, _REPEAT_S)
        try:
            return _as_reward(function(prompt, response))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except _TimedOut:
        signal.setitimer(signal.ITIMER_REAL, 0)  # it may have fired just before it was stopped
        return _timed_out(timeout_s)
    except (Exception, SystemExit) as error:  # noqa: BLE001, user code raises anything
        return _failed(error)
    finally:
        signal.signal(signal.SIGALRM, before)


def _ring(_signal: int, _frame: FrameType | None) -> None:
    raise _TimedOut


def _reward_in_thread(function: UserFunction, prompt: str, response: str, timeout_s: float) -> Reward:
    rewards: list[Reward] = []

    def call() -> None:
        try:
            rewards.append(_as_reward(function(prompt, response)))
        except (Exception, SystemExit) as error:  # noqa: BLE001, user code raises anything
            rewards.append(_failed(error))

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(timeout_s)
    return rewards[0] if rewards else _timed_out(timeout_s)


async def _reward_async(function: UserFunction, prompt: str, response: str, timeout_s: float) -> Reward:
    limit = asyncio.timeout(timeout_s)
    try:
        async with limit:
            value = await function(prompt, response)
        return _as_reward(value)
    except (Exception, SystemExit, asyncio.CancelledError) as error:  # noqa: BLE001, user code raises anything
        return _timed_out(timeout_s) if limit.expired() else _failed(error)


def _as_reward(value: object) -> Reward:
    if not (hasattr(value, "__float__") or hasattr(value, "__index__")):
        return Reward(None, reason(f"returned no number: {type(value).__name__}"))
    number = float(value)  # pyright: ignore[reportArgumentType], numpy and torch scalars are welcome
    return Reward(number) if math.isfinite(number) else Reward(None, f"returned {number}")


def _timed_out(timeout_s: float) -> Reward:
    return Reward(None, f"timed out after {timeout_s:g} s")


def _failed(error: BaseException) -> Reward:
    try:
        message = str(error)
    except Exception:  # noqa: BLE001, nor may it be printable
        message = ""
    return Reward(None, reason(f"{type(error).__name__}: {message}"))
