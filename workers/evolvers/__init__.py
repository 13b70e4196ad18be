"""Evolvers: one file each, one line each in EVOLVERS."""

from __future__ import annotations

from pkgutil import resolve_name

from eva.config import CustomEvolver, Evolving
from eva.errors import ConfigError
from eva.roles import Evolver, Generator

EVOLVERS: dict[str, str] = {
    "playground": "workers.evolvers.playground:PlaygroundEvolver",
    "evol_instruct": "workers.evolvers.evol_instruct:EvolInstructEvolver",
    "self": "workers.evolvers.policy:PolicyEvolver",
    "feedback": "workers.evolvers.feedback:FeedbackRewriter",
    "custom": "workers.evolvers.custom:UserEvolver",
}
"""`kind` in the config: its class, imported when it is asked for and built from its section and the fleet."""


def build_evolver(evolving: Evolving, generator: Generator | None = None) -> Evolver:
    """The run's evolver; `generator` is the fleet, for those that ask it. Raises ConfigError when it cannot work."""
    evolver: Evolver = resolve_name(EVOLVERS[evolving.evolver.kind])(evolving.evolver, generator)
    unknown = set(evolving.operators or ()) - set(evolver.operators)
    if unknown and isinstance(evolving.evolver, CustomEvolver):
        raise ConfigError(
            f"evolver {evolving.evolver.path} has no operator {min(unknown)!r}",
            expected=f"some of {', '.join(evolver.operators)}",
            next_move="Correct `evolving.operators`",
        )
    return evolver
