"""Evolvers that ask no model: the playground's mechanical operators, and copies as a control."""

from __future__ import annotations

from eva.config import CopyEvolver
from eva.config import PlaygroundEvolver as PlaygroundConfig
from eva.roles import Generator
from eva.types import Mutation, Reply
from workers.playground import evolver


class PlaygroundEvolver:
    """The `eva.roles.Evolver` of the micro-world. It costs nothing and keeps no state."""

    def __init__(self, _config: PlaygroundConfig, _generator: Generator | None = None) -> None:
        self._rules = evolver.RuleEvolver()

    @property
    def operators(self) -> tuple[str, ...]:
        return self._rules.operators

    def evolve(self, mutation: Mutation) -> Reply:
        """Returns one child, or an empty text if the parent is not a prompt of this world."""
        return Reply(self._rules.evolve(mutation.text, mutation.operator, mutation.seed))


class PromptCopier:
    """The `eva.roles.Evolver` of the paper's control that samples but does not evolve.

    A copy is a prompt of its own, with responses of its own.
    """

    operators = ("copy",)

    def __init__(self, _config: CopyEvolver, _generator: Generator | None = None) -> None:
        pass

    def evolve(self, mutation: Mutation) -> Reply:
        """Returns the text itself."""
        return Reply(mutation.text)
