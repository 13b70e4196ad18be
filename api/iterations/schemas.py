"""Iterations and stages as the API shows them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Literal

from api.schema import Schema
from eva.runtime.redaction import redact
from store.rows import StageRow


class Stage(Schema):
    """One named part of an iteration."""

    iteration: int
    """Its iteration."""
    name: str
    """What it does, such as `judge_batch`."""
    status: Literal["running", "done", "failed"]
    """Where it stands; `running` where its driver was killed, too."""
    attempts: int
    """How often it was started."""
    done: int
    """Units that are stored: prompts, or what the stage counts."""
    total: int
    """Units in all."""
    seconds: float
    """Time spent on it by all its attempts, as far as it is stored."""
    per_second: float | None
    """Units per second so far; null before the first."""
    eta_s: float | None
    """Seconds to its end at that rate; null where it is not running or nothing is known."""
    counts: Mapping[str, Any]
    """What it did, when it is done."""
    error: str | None
    """Why its last attempt failed."""
    started_at: datetime
    """When it was first started."""
    finished_at: datetime | None
    """When it ended."""


class Stages(Schema):
    """The stages of a run, in the order in which they were first started."""

    items: list[Stage]
    """All of them."""


class Iteration(Schema):
    """One creator step and one solver step."""

    number: int
    """From 0; that is the warm-up where there is one."""
    status: Literal["done", "open"]
    """`done` when all its stages are."""
    seconds: float
    """Time spent on its stages."""
    children: int | None
    """Prompts of its batch that the creator evolved; null before they are mixed, or in a warm-up."""
    buffer: int | None
    """Prompts of its batch that were kept from the pool."""
    pairs: int | None
    """Preference pairs that it trained on."""
    stages: list[Stage]
    """Its stages."""


class Iterations(Schema):
    """The iterations of a run that were begun, in order."""

    items: list[Iteration]
    """All of them."""


def stage_of(row: StageRow, secrets: Collection[str]) -> Stage:
    """A stage with its rate, and without these secrets."""
    rate = row.done / row.seconds if row.done and row.seconds > 0 else None
    running = row.status == "running" and rate is not None and row.total >= row.done
    return Stage(
        iteration=row.iteration,
        name=row.name,
        status=row.status,  # pyright: ignore[reportArgumentType] - as checked by the table
        attempts=row.attempts,
        done=row.done,
        total=row.total,
        seconds=row.seconds,
        per_second=rate,
        eta_s=(row.total - row.done) / rate if running and rate else None,
        counts=row.counts,
        error=None if row.error is None else redact(row.error, secrets),
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def iteration_of(number: int, played: int, rows: list[StageRow], secrets: Collection[str]) -> Iteration:
    """An iteration from its stages, when the run has finished `played` iterations."""
    counts = {row.name: row.counts for row in rows if row.status == "done"}
    mixed = counts.get("mix", {})
    return Iteration(
        number=number,
        status="done" if number < played else "open",
        seconds=sum(row.seconds for row in rows),
        children=mixed.get("children"),
        buffer=mixed.get("buffer"),
        pairs=counts.get("pair", {}).get("pairs"),
        stages=[stage_of(row, secrets) for row in rows],
    )
