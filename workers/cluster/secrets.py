"""Secrets of the driver's environment for the actors that need them, which may run on another machine.

They travel as an argument of the actor: what is in a `runtime_env` is shown by Ray's dashboard and written to its logs.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

HUB_TOKEN = "HF_TOKEN"  # noqa: S105 - a variable's name


@dataclass(frozen=True, slots=True)
class Secrets:
    """Values of environment variables. They are not shown by `repr`."""

    values: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    def install(self) -> None:
        """Sets the variables in this process; what its machine sets itself stays."""
        for name, value in self.values.items():
            os.environ.setdefault(name, value)

    def and_those(self, names: Iterable[str]) -> Secrets:
        """Returns these secrets with the values that this process has for other variables."""
        return Secrets({**self.values, **read_secrets(names).values})


NO_SECRETS = Secrets()


def read_secrets(names: Iterable[str]) -> Secrets:
    """Returns the values that this process has for these variables."""
    return Secrets({name: os.environ[name] for name in names if os.environ.get(name)})


def hub_secrets(*, needed: bool = True) -> Secrets:
    """Returns the token for the hub of models, where it is `needed`."""
    return read_secrets([HUB_TOKEN]) if needed else NO_SECRETS
