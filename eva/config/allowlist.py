"""The allowlist: what a config that is sent through the API may name, as the environment says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from eva.errors import ConfigError

Kind = Literal["model", "dataset", "endpoint", "function", "secret", "store"]

VARIABLES: dict[Kind, str] = {
    "model": "EVA_MODELS",
    "dataset": "EVA_DATASETS",
    "endpoint": "EVA_ENDPOINTS",
    "function": "EVA_FUNCTIONS",
    "secret": "EVA_SECRETS",
    "store": "EVA_STORES",
}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Allowlist:
    """The allowed names of each kind, and what each stands for. A function or a secret stands for itself.

    `uploads`: the folder of prompt files that were sent to the service, which may be named, too.
    """

    names: Mapping[Kind, Mapping[str, str]] = field(default_factory=dict[Kind, Mapping[str, str]])
    uploads: Path | None = None

    def of(self, kind: Kind) -> Mapping[str, str]:
        return self.names.get(kind, {})


def read_allowlist(environment: Mapping[str, str]) -> Allowlist:
    """Reads the allowlist from environment variables.

    EVA_MODELS, EVA_DATASETS, EVA_ENDPOINTS and EVA_STORES are `name=value,…`; EVA_FUNCTIONS and EVA_SECRETS are
    `value,…`. Raises ConfigError if an entry is malformed.
    """
    names: dict[Kind, Mapping[str, str]] = {}
    for kind, variable in VARIABLES.items():
        entries = [entry.strip() for entry in environment.get(variable, "").split(",") if entry.strip()]
        if kind in ("function", "secret"):
            names[kind] = {entry: entry for entry in entries}
            continue
        pairs = [entry.partition("=") for entry in entries]
        if wrong := [
            entry
            for entry, (name, _, value) in zip(entries, pairs, strict=True)
            if not _NAME.fullmatch(name) or not value
        ]:
            raise ConfigError(
                f"{variable} has the entry {wrong[0]!r}",
                expected="NAME=VALUE,… such as gemma=/models/gemma",
                next_move="Correct it; docs/security.md has examples",
            )
        names[kind] = {name: value for name, _, value in pairs}
    return Allowlist(names)
