"""Rewards from a user's function, even if it raises, hangs or returns nonsense.

Only the response that caused it stays without a reward, with the reason. A call that takes longer than `timeout_s` is
stopped:
- sync, in the main thread (as in the actor): by the signal of an interval timer, which ends sleeps,
  loops and regular expressions; the function may use `signal.alarm` itself, as math-verify does;
- sync, in another thread (LocalRewarder only): its thread is abandoned;
- async: its task is cancelled.
If that does not help (C code that never returns, an async function that blocks its event loop), the actor's watchdog
ends the process.

The first call of a process may import libraries and load a model, so it has a limit of its own (`first_call_s`). The
alarm never interrupts an import, which would leave half a library behind: it rings again when the import may be done.
If one takes longer than `first_call_s`, the watchdog ends the process, and a new one begins.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from types import FrameType
from typing import Any

from eva.config import VerifierReward
from eva.runtime.user_functions import load_function, load_object, takes
from eva.types import Reward
from workers.rewards.model import Alive, RewardRequest, reason

UserFunction = Callable[..., Any]

EXPECTED = (
    "`module:function`, a function (prompt: str, response: str) -> float, sync or async; it may also take "
    "`reference`, the prompt's reference answer, and `context`, the messages before the prompt"
)

NO_REFERENCE = "the prompt has no reference answer, which the reward function needs"

_NONE = inspect.Parameter.empty
_REPEAT_S = 1.0
_IMPORTER = "<frozen importlib._bootstrap>"
_NO_WATCHDOG_S = 60.0
"""How much later an import is interrupted after all, where no watchdog has ended the process (LocalRewarder only)."""

Arguments = tuple[str, dict[str, Any]]
"""The prompt, and the function's other arguments by name."""


class _TimedOut(BaseException):
    """Not an Exception, so that the user's `except Exception` lets it through."""


@dataclass(frozen=True, slots=True)
class CallLimit:
    """How long one call may take, how long imports may hold this up, and what to call while they do."""

    timeout_s: float
    import_s: float
    alive: Alive

    @property
    def patience_s(self) -> float:
        """How long the watchdog has to wait."""
        return 1.5 * self.timeout_s + 1.0


class VerifierModel:
    """The user's function as a reward model."""

    def __init__(self, config: VerifierReward) -> None:
        self._config, self._has_answered = config, False
        self._function = check_function(config.function)
        self._takes_context = takes(self._function, "context")
        self._reference = reference_parameter(self._function)
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
        return self._limit(ignore).patience_s

    def reward_many(self, requests: Sequence[RewardRequest], alive: Alive) -> list[tuple[Reward, ...]]:
        """Rewards all responses; an async function is called for up to `concurrency` of them at a time."""
        asked = [request for request in requests if not self._lacks_reference(request)]
        flat = [(self._arguments(request), response) for request in asked for response in request.responses]
        together = self._loop.run(self._all_async(flat, alive)) if self._loop else self._all_sync(flat, alive)
        rewards, without = iter(together), Reward(None, NO_REFERENCE)
        return [
            tuple(without if self._lacks_reference(request) else next(rewards) for _ in request.responses)
            for request in requests
        ]

    def close(self) -> None:
        if self._loop:
            self._loop.close()

    def _arguments(self, request: RewardRequest) -> Arguments:
        """Returns the function's arguments apart from the response."""
        named: dict[str, Any] = {}
        if self._takes_context:
            named["context"] = [asdict(message) for message in request.context]
        if self._reference is not None and request.reference is not None:
            named[self._reference.name] = request.reference
        return request.prompt, named

    def _lacks_reference(self, request: RewardRequest) -> bool:
        """Whether the function needs a reference answer that the prompt does not have."""
        return self._reference is not None and self._reference.default is _NONE and request.reference is None

    def _all_sync(self, flat: Sequence[tuple[Arguments, str]], alive: Alive) -> Iterator[Reward]:
        in_main_thread = threading.current_thread() is threading.main_thread()
        reward = _reward_under_alarm if in_main_thread else _reward_in_thread
        for (prompt, named), response in flat:
            alive()
            rewarded = reward(partial(self._function, **named), prompt, response, self._limit(alive))
            self._has_answered = True
            yield rewarded

    async def _all_async(self, flat: Sequence[tuple[Arguments, str]], alive: Alive) -> list[Reward]:
        slots = asyncio.Semaphore(self._config.concurrency)

        async def one(arguments: Arguments, response: str) -> Reward:
            prompt, named = arguments
            async with slots:
                reward = await _reward_async(partial(self._function, **named), prompt, response, self._limit(alive))
                self._has_answered = True
                alive()
                return reward

        return await asyncio.gather(*(one(arguments, response) for arguments, response in flat))

    def _limit(self, alive: Alive) -> CallLimit:
        """The limit of a call that begins now."""
        timeout_s, first_s = self._config.timeout_s, self._config.first_call_s
        return CallLimit(timeout_s if self._has_answered else max(timeout_s, first_s), first_s, alive)


def ignore() -> None:
    """Nobody waits for a sign of life."""


def check_function(spec: str) -> UserFunction:
    """Returns the reward function that `module:function` names. Raises ConfigError when it cannot be used."""
    parameter = reference_parameter(load_object(spec, what="reward function", expected=EXPECTED))
    return load_function(
        spec,
        what="reward function",
        expected=EXPECTED,
        arguments=["prompt", "response"],
        named=["context", *([parameter.name] if parameter else [])],
    )


def reference_parameter(function: UserFunction) -> inspect.Parameter | None:
    """Returns the parameter that gets the reference answer: `reference`, or else a third one without a default."""
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:  # some functions written in C do not tell theirs
        return None
    if takes(function, "reference"):
        return parameters["reference"]
    third = next(islice(parameters.values(), 2, None), None)
    if third is None or third.kind is not third.POSITIONAL_OR_KEYWORD or third.name == "context":
        return None
    return third if third.default is _NONE else None


def is_async(function: UserFunction) -> bool:
    """Whether calling it gives a coroutine; objects with an async `__call__` included."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004, the attribute itself is looked at
    )


def _reward_under_alarm(function: UserFunction, prompt: str, response: str, limit: CallLimit) -> Reward:
    began = time.monotonic()

    def ring(_signal: int, frame: FrameType | None) -> None:
        waited_s = time.monotonic() - began
        if not is_importing(frame) or waited_s > limit.import_s + limit.patience_s + _NO_WATCHDOG_S:
            raise _TimedOut
        if waited_s < limit.import_s:
            limit.alive()
        # What follows the import has its own time.
        signal.setitimer(signal.ITIMER_REAL, limit.timeout_s, _REPEAT_S)

    before = signal.signal(signal.SIGALRM, ring) or signal.SIG_DFL
    try:
        # The alarm repeats every second, in case the user's code swallows the first.
        signal.setitimer(signal.ITIMER_REAL, limit.timeout_s, _REPEAT_S)
        try:
            return _as_reward(function(prompt, response))
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except _TimedOut:
        signal.setitimer(signal.ITIMER_REAL, 0)  # it may have fired just before it was stopped
        return _timed_out(limit.timeout_s)
    except (Exception, SystemExit) as error:  # noqa: BLE001, user code raises anything
        return _failed(error)
    finally:
        signal.signal(signal.SIGALRM, before)


def is_importing(frame: FrameType | None) -> bool:
    """Whether the interrupted code of a user's function was importing a module, at any depth."""
    while frame is not None and frame.f_code is not _reward_under_alarm.__code__:
        if frame.f_code.co_filename == _IMPORTER:
            return True
        frame = frame.f_back
    return False


def _reward_in_thread(function: UserFunction, prompt: str, response: str, limit: CallLimit) -> Reward:
    rewards: list[Reward] = []

    def call() -> None:
        try:
            rewards.append(_as_reward(function(prompt, response)))
        except (Exception, SystemExit) as error:  # noqa: BLE001, user code raises anything
            rewards.append(_failed(error))

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(limit.timeout_s)
    return rewards[0] if rewards else _timed_out(limit.timeout_s)


async def _reward_async(function: UserFunction, prompt: str, response: str, limit: CallLimit) -> Reward:
    clock = asyncio.timeout(limit.timeout_s)
    try:
        async with clock:
            value = await function(prompt, response)
        return _as_reward(value)
    except (Exception, SystemExit, asyncio.CancelledError) as error:  # noqa: BLE001, user code raises anything
        return _timed_out(limit.timeout_s) if clock.expired() else _failed(error)


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
