"""A user's evolver class, by import path."""

from __future__ import annotations

from typing import Any

from eva.config import CustomEvolver
from eva.errors import ConfigError, EvaError
from eva.roles import Generator
from eva.runtime.user_functions import load_object
from eva.types import Mutation, Reply

_EXPECTED = "`module:Class` of a class with `operators` (a tuple of names) and `evolve(mutation)`"


class UserEvolver:
    """Wraps a user's class: an exception in its `evolve` only refuses that one child.

    `evolve` may return a `Reply` or just the child's text. Raises ConfigError if the class cannot be used.
    """

    def __init__(self, config: CustomEvolver, _generator: Generator | None = None) -> None:
        self._evolver = _build(config)

    @property
    def operators(self) -> tuple[str, ...]:
        return tuple(self._evolver.operators)

    def evolve(self, mutation: Mutation) -> Reply:
        """Returns the class's reply. An exception becomes the reply's `finish`, but eva's own errors end the stage."""
        try:
            reply = self._evolver.evolve(mutation)
        except EvaError:
            raise
        except Exception as error:  # noqa: BLE001 - user code raises anything; counted by name
            return Reply("", finish=f"error: {type(error).__name__}")
        if isinstance(reply, str):
            return Reply(reply)
        return reply if isinstance(reply, Reply) else Reply("", finish=f"error: a {type(reply).__name__}, no text")


def _build(config: CustomEvolver) -> Any:
    build = load_object(config.path, what="evolver", expected=_EXPECTED, kind="class")
    try:
        evolver = build(**config.options)
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"evolver {config.path!r} could not be built: {type(error).__name__}: {error}",
            expected=_EXPECTED,
            next_move="Correct `evolving.evolver.path` and its `options`",
        ) from error
    if not getattr(evolver, "operators", None) or not callable(getattr(evolver, "evolve", None)):
        raise ConfigError(
            f"{config.path!r} makes a {type(evolver).__name__} without `operators` or `evolve`",
            expected=_EXPECTED,
            next_move="Give the class both",
        )
    return evolver
