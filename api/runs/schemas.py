"""Runs as the API shows them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from typing_extensions import TypeAliasType

from api.schema import Schema
from api.service import secrets_in
from eva.runtime.redaction import redact, redact_json
from store.views.run_pages import StandingRow

Status = TypeAliasType(
    "Status", Literal["created", "queued", "running", "interrupted", "paused", "finished", "failed", "cancelled"]
)
"""Named, as all that several schemas choose from: clients are generated with one type for it."""


class OpenStage(Schema):
    """The newest stage that is not done."""

    iteration: int
    """Its iteration."""
    name: str
    """What it does, such as `judge_batch`."""
    status: str
    """`running` or `failed`."""
    attempts: int
    """How often it was started."""
    done: int
    """Units that are stored."""
    total: int
    """Units in all."""


class Holder(Schema):
    """The driver that plays a run."""

    host: str
    """Its machine."""
    pid: int | None
    """Its process there."""


class ForkedFrom(Schema):
    """Where a fork comes from."""

    run: str
    """The run whose history it shares."""
    iteration: int
    """The first iteration that it plays itself."""


class Run(Schema):
    """One alignment run."""

    name: str
    """Its name for ever."""
    status: Status
    """Where it stands; `interrupted`: it says that it is running, but no driver has held it for the lease's time."""
    desired: Literal["run", "pause", "cancel"]
    """What is wanted of it; its driver obeys at the next batch boundary."""
    iteration: int
    """The iteration that it plays, or `iterations` when all are played."""
    iterations: int
    """How many it plays."""
    stage: OpenStage | None
    """What it is doing, or did last where nobody holds it."""
    held_by: Holder | None
    """Who plays it."""
    prompts: int
    """How many prompts it has: they are numbered from 0."""
    seed: int
    """The seed that all its draws derive from."""
    last_event: int
    """Sequence number of its newest event."""
    forked_from: ForkedFrom | None
    """The run that it is a fork of."""
    error: str | None
    """Why it failed."""
    note: str
    """The user's own words."""
    tags: list[str]
    """The user's own labels."""
    created_at: datetime
    """When it was registered."""
    started_at: datetime | None
    """When it was first played."""
    finished_at: datetime | None
    """When it ended."""
    deleted_at: datetime | None
    """When it was deleted; null for those that lists show."""


class Launch(Schema):
    """How a service has a run played."""

    state: Literal["queued", "taken", "submitted", "ended"]
    """`queued`: it waits for a driver; `taken`: its job is being submitted; `submitted`: Ray has it; `ended`: no driver
    is needed."""
    ahead: int | None
    """How many runs wait before it; null unless it waits."""
    attempt: int
    """How many drivers were started for it."""
    job: str | None
    """The Ray job of the newest driver."""
    restarts: int
    """How often a dead driver is replaced."""
    restarted: int
    """How often one was, since the run was last asked for."""
    message: str | None
    """What it waits for, where that is not its turn."""


class RunDetails(Run):
    """One run with its config."""

    launch: Launch | None
    """How it is launched; null where `eva run` or the like plays it."""

    config_hash: str
    """SHA-256 of the config: runs of equal configs have equal ones."""
    config: Mapping[str, Any]
    """The config in full; credentials in it read `***`."""


class RunPage(Schema):
    """Runs, newest first."""

    items: list[Run]
    """The runs of this page."""
    next: str | None
    """`cursor` of the next page; null at the end."""


def run_of(row: StandingRow) -> Run:
    """A run for a list."""
    return Run(**_facts(row))


def details_of(row: StandingRow, launch: Launch | None) -> RunDetails:
    """A run for itself."""
    return RunDetails(
        **_facts(row),
        launch=launch,
        config_hash=row.run.config_hash,
        config=redact_json(row.run.config, secrets_in(row.run)),
    )


def _facts(row: StandingRow) -> dict[str, Any]:
    run, owner = row.run, row.held_by
    error = None if run.error is None else redact(run.error, secrets_in(run))
    return {
        "name": run.name,
        "status": row.standing,
        "desired": run.desired,
        "iteration": run.iteration,
        "iterations": run.config["iterations"],
        "stage": None if row.stage is None else OpenStage.model_validate(row.stage),
        "held_by": None if owner is None else Holder(host=str(owner.get("host")), pid=owner.get("pid")),
        "prompts": run.prompt_count,
        "seed": run.seed,
        "last_event": run.event_seq,
        "forked_from": None if row.origin is None else ForkedFrom(run=row.origin, iteration=run.forked_at or 0),
        "error": error,
        "note": run.note,
        "tags": list(run.tags),
        "created_at": run.created_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "deleted_at": run.deleted_at,
    }
