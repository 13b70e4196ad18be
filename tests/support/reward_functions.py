"""Reward functions as users write them, good and bad. Named by tests as `module:function`."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from typing import Any

import numpy as np


def length(prompt: str, response: str) -> float:
    return len(prompt) * 100.0 + len(response)


def with_context(_prompt: str, _response: str, *, context: list[dict[str, str]]) -> float:
    return float(sum(len(message["content"]) for message in context))


async def with_context_async(_prompt: str, _response: str, context: list[dict[str, str]]) -> float:
    return float(sum(len(message["content"]) for message in context))


def picky(_prompt: str, response: str) -> Any:
    """Does what the response says."""
    match response:
        case "raise":
            raise ValueError("no such\nanswer\0 " + "x" * 500)
        case "unprintable":
            raise UnprintableError
        case "exit":
            raise SystemExit(3)
        case "sleep":
            time.sleep(60)
        case "loop":
            while True:
                pass
        case "regex":
            re.match(r"(a+)+$", "a" * 60 + "b")
        case "swallow":
            swallow()
    return RETURNED.get(response)


def swallow() -> None:
    """Catches everything for a while, time-outs included."""
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        try:
            time.sleep(60)
        except BaseException:  # noqa: BLE001, S112, that is the point
            continue


RETURNED: dict[str, Any] = {
    "nan": float("nan"),
    "inf": float("inf"),
    "none": None,
    "text": "1.0",
    "list": [1.0],
    "huge": 10**400,
    "array": np.array([1.0, 2.0]),
    "good": 0.5,
    "int": 3,
    "bool": True,
    "numpy": np.float32(0.25),
}


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def own_alarm(_prompt: str, response: str) -> float:
    """Uses the alarm itself, as math-verify does."""
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.alarm(10)
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    return float(len(response))


class Gauge:
    running = 0
    most = 0


async def gauged(_prompt: str, response: str) -> float:
    """Counts how many calls run at once."""
    Gauge.running += 1
    Gauge.most = max(Gauge.most, Gauge.running)
    await asyncio.sleep(0.001)
    Gauge.running -= 1
    return float(response)


async def picky_async(prompt: str, response: str) -> Any:
    if response in ("sleep", "loop", "regex", "swallow"):
        await asyncio.sleep(60)
    if response == "cancel":
        raise asyncio.CancelledError
    if response == "timeout":
        raise TimeoutError("mine")
    return picky(prompt, response)


class Grader:
    async def __call__(self, _prompt: str, response: str) -> float:
        return float(response)


grader = Grader()


def one_argument(response: str) -> float:
    return float(response)


NOT_A_FUNCTION = 3
