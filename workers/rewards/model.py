"""What a reward model is, before anything is said about where it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from eva.types import Context, Reward


class RewardRequest(NamedTuple):
    """A prompt's text, its responses' texts, and the messages before the prompt."""

    prompt: str
    responses: tuple[str, ...]
    context: Context = ()


Alive = Callable[[], None]
"""Called by a reward model whenever it gets on; see `RewardModel.patience_s`."""

PROCESS_DIED = "rewarder process died"
"""Reason of responses that could not be rewarded because their prompt kills the process."""

_REASON_CHARS = 200


class RewardModel(Protocol):
    """Rewards texts, nothing else. Built from its section of the config, used by one thread at a time."""

    def __init__(self, config: Any) -> None: ...

    @staticmethod
    def name_of(config: Any) -> str:
        """What its rewards are stored under: its kind and what distinguishes it."""
        ...

    @staticmethod
    def check(config: Any) -> None:
        """Cheap check before anything starts. Raises ConfigError."""
        ...

    @property
    def patience_s(self) -> float:
        """Seconds without a call of `alive` after which its process counts as hung and is killed."""
        ...

    def reward_many(self, asked: Sequence[RewardRequest], alive: Alive) -> list[tuple[Reward, ...]]:
        """Rewards in the order of `asked`, each tuple in the order of that prompt's responses."""
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


COST = "cost_usd"
"""The part of a reward that says what it cost, US dollars; of an ensemble `MEMBER/cost_usd`."""


@runtime_checkable
class HasBudget(Protocol):
    """A reward model with a budget for the whole run."""

    def charge(self, spent: Mapping[str, float]) -> None:
        """Count what its rewards have cost before it was built, by part."""
        ...


def reason(text: str) -> str:
    """One storable line of at most 200 characters: no NUL, no lone surrogates, no line breaks."""
    line = " ".join(text.replace("\0", " ").split())
    line = line.encode("utf-8", "replace").decode()
    return line if len(line) <= _REASON_CHARS else line[: _REASON_CHARS - 1] + "…"
