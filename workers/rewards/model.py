"""What every reward model has, wherever it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from eva.types import Context, Reward


class RewardRequest(NamedTuple):
    """The texts of a prompt and its responses, the messages before the prompt, and its reference answer, if any."""

    prompt: str
    responses: tuple[str, ...]
    context: Context = ()
    reference: str | None = None


Alive = Callable[[], None]
"""A reward model calls this whenever it makes progress; see `RewardModel.patience_s`."""

PROCESS_DIED = "rewarder process died"
"""The reason for responses without a reward because their prompt kills the process."""

_REASON_CHARS = 200


class RewardModel(Protocol):
    """Rewards texts. Built from its section of the config, used by one thread at a time."""

    def __init__(self, config: Any) -> None: ...

    @staticmethod
    def name_of(config: Any) -> str:
        """Returns the name under which its rewards are stored: its kind and what distinguishes it."""
        ...

    @staticmethod
    def check(config: Any) -> None:
        """A cheap check before anything starts. Raises ConfigError."""
        ...

    @property
    def patience_s(self) -> float:
        """Seconds without a call of `alive` after which its process counts as hung and is killed."""
        ...

    def reward_many(self, requests: Sequence[RewardRequest], alive: Alive) -> list[tuple[Reward, ...]]:
        """Returns rewards in the order of `requests`, each tuple in the order of that prompt's responses."""
        ...

    def close(self) -> None:
        """Releases its resources."""
        ...


COST = "cost_usd"
"""The part of a reward that holds its cost in US dollars; in an ensemble `MEMBER/cost_usd`."""


@runtime_checkable
class HasBudget(Protocol):
    """A reward model with a budget for the whole run."""

    def charge(self, spent: Mapping[str, float]) -> None:
        """Counts earlier costs of the run's rewards, by part."""
        ...


def reason(text: str) -> str:
    """Returns one line of at most 200 characters that can be stored: no NUL, no lone surrogates, no line breaks."""
    line = " ".join(text.replace("\0", " ").split())
    line = line.encode("utf-8", "replace").decode()
    return line if len(line) <= _REASON_CHARS else line[: _REASON_CHARS - 1] + "…"
