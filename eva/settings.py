"""The environment: where the database and the data are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from eva.failpoints import arm_from_environment


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says, read once at the start of a command.

    Attributes:
        data_dir: EVA_DATA_DIR, else `eva-data` in the current folder: checkpoints, logs, the embedded database.
        database_url: EVA_DATABASE_URL (a `postgresql://` URL), or None for the embedded database.
        ray_address: RAY_ADDRESS, or None for a local cluster of this machine.
        hosts: EVA_HOSTS, host names (separated by commas) under which `eva serve` is reached, e.g. behind a proxy.
    """

    data_dir: Path
    database_url: str | None
    ray_address: str | None
    hosts: tuple[str, ...] = ()

    @property
    def runs_dir(self) -> Path:
        return self.data_dir / "runs"

    @property
    def logs_dir(self) -> Path:
        return self.data_dir / "logs"


def read_settings() -> Settings:
    """Raises ConfigError for an EVA_FAILPOINTS that nobody could obey: found here, before anything starts."""
    arm_from_environment()
    return Settings(
        data_dir=Path(os.environ.get("EVA_DATA_DIR") or "eva-data").resolve(),
        database_url=os.environ.get("EVA_DATABASE_URL") or None,
        ray_address=os.environ.get("RAY_ADDRESS") or None,
        hosts=tuple(host.strip().lower() for host in os.environ.get("EVA_HOSTS", "").split(",") if host.strip()),
    )
