"""The environment: where the database and the data are."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from eva.config.allowlist import Allowlist, read_allowlist
from eva.errors import ConfigError
from eva.runtime.failpoints import arm_from_environment
from eva.runtime.logs import Form, parse_form


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says, read once at the start of a command.

    Attributes:
        data_dir: EVA_DATA_DIR, else `eva-data` in the current folder: checkpoints, logs, the embedded database.
        database_url: EVA_DATABASE_URL (a `postgresql://` URL), or None for the embedded database.
        ray_address: RAY_ADDRESS, or None for a local cluster of this machine.
        hosts: EVA_HOSTS, host names (separated by commas) under which `eva serve` is reached, e.g. behind a proxy.
        concurrent_runs: EVA_CONCURRENT_RUNS: so many runs that the service launches play at a time; 1 unless set.
        log_format: EVA_LOG_FORMAT: how logs are written, `text` (unless set) or `json`: one object per line.
        allowed: what configs that come by the API may name, and what it stands for.
    """

    data_dir: Path
    database_url: str | None
    ray_address: str | None
    hosts: tuple[str, ...] = ()
    concurrent_runs: int = 1
    log_format: Form = "text"
    allowed: Allowlist = field(default_factory=Allowlist)

    @property
    def runs_dir(self) -> Path:
        return self.data_dir / "runs"

    @property
    def logs_dir(self) -> Path:
        return self.data_dir / "logs"


def read_settings() -> Settings:
    """Raises ConfigError for what nobody could obey: found here, before anything starts."""
    arm_from_environment()
    return Settings(
        data_dir=Path(os.environ.get("EVA_DATA_DIR") or "eva-data").resolve(),
        database_url=os.environ.get("EVA_DATABASE_URL") or None,
        ray_address=os.environ.get("RAY_ADDRESS") or None,
        hosts=tuple(host.strip().lower() for host in os.environ.get("EVA_HOSTS", "").split(",") if host.strip()),
        concurrent_runs=_count("EVA_CONCURRENT_RUNS", 1),
        log_format=parse_form(os.environ.get("EVA_LOG_FORMAT") or "text"),
        allowed=read_allowlist(os.environ),
    )


def _count(name: str, default: int) -> int:
    given = os.environ.get(name) or str(default)
    if not (given.isascii() and given.isdigit()) or int(given) < 1:
        raise ConfigError(f"{name} is {given!r}", expected="a whole number from 1", next_move="Correct or unset it")
    return int(given)
