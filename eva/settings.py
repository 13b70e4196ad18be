"""Settings from the environment: where the database and the data are, and what the service allows."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from eva.config.allowlist import Allowlist, read_allowlist
from eva.errors import ConfigError
from eva.prompts.uploads import FOLDER as UPLOADS
from eva.runtime.failpoints import arm_from_environment
from eva.runtime.logs import Form, parse_form
from eva.webhooks.addresses import NETWORKS, Network, parse_networks

DRIVERS_CLUSTER = "EVA_RAY_ADDRESS"
"""What a launched driver joins. Ray overwrites its RAY_ADDRESS, with that of the newest cluster on the machine."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings read from the environment once, at the start of a command.

    Attributes:
        data_dir: EVA_DATA_DIR, else `eva-data` in the current folder: checkpoints, logs and the embedded database.
        database_url: EVA_DATABASE_URL (a `postgresql://` URL), or None for the embedded database.
        ray_address: EVA_RAY_ADDRESS (`eva serve` sets it for its drivers), else RAY_ADDRESS; None for a local cluster.
        hosts: EVA_HOSTS, the host names (separated by commas) of `eva serve`, for example behind a proxy.
        concurrent_runs: EVA_CONCURRENT_RUNS, how many runs the service plays at a time; 1 by default.
        log_format: EVA_LOG_FORMAT, `text` (the default) or `json`, one object per line.
        webhook_networks: EVA_WEBHOOK_NETWORKS, the networks (separated by commas) that webhooks may reach although they
            are not public, or without TLS.
        allowed: the names that configs sent through the API may use, and what each stands for.
    """

    data_dir: Path
    database_url: str | None
    ray_address: str | None
    hosts: tuple[str, ...] = ()
    concurrent_runs: int = 1
    log_format: Form = "text"
    webhook_networks: tuple[Network, ...] = ()
    allowed: Allowlist = field(default_factory=Allowlist)

    @property
    def runs_dir(self) -> Path:
        return self.data_dir / "runs"

    @property
    def uploads_dir(self) -> Path:
        return self.data_dir / UPLOADS

    @property
    def logs_dir(self) -> Path:
        return self.data_dir / "logs"


def read_settings() -> Settings:
    """Reads the settings. Raises ConfigError for an invalid value, before anything starts."""
    arm_from_environment()
    return Settings(
        data_dir=Path(os.environ.get("EVA_DATA_DIR") or "eva-data").resolve(),
        database_url=os.environ.get("EVA_DATABASE_URL") or None,
        ray_address=os.environ.get(DRIVERS_CLUSTER) or os.environ.get("RAY_ADDRESS") or None,
        hosts=tuple(host.strip().lower() for host in os.environ.get("EVA_HOSTS", "").split(",") if host.strip()),
        concurrent_runs=_count("EVA_CONCURRENT_RUNS", 1),
        log_format=parse_form(os.environ.get("EVA_LOG_FORMAT") or "text"),
        webhook_networks=parse_networks(os.environ.get(NETWORKS, "")),
        allowed=read_allowlist(os.environ),
    )


def _count(name: str, default: int) -> int:
    text = os.environ.get(name) or str(default)
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise ConfigError(
            f"{name} is {text!r}", expected="a whole number of at least 1", next_move="Correct it or unset it"
        )
    return int(text)
