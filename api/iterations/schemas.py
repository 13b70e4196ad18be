"""Schemas of iterations and stages."""

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
    """Its status. It stays `running` when its driver is killed."""
    attempts: int
    """How often it was started."""
    done: int
    """Units that are stored: prompts, or whatever the stage counts."""
    total: int
    """All its units."""
    seconds: float
    """Seconds spent on it by all its attempts, as far as they are stored."""
    per_second: float | None
    """Units per second so far; null before the first unit."""
    eta_s: float | None
    """Seconds until its end at that rate; null if it is not running or the rate is unknown."""
    counts: Mapping[str, Any]
    """What it did, in counts; filled when it is done."""
    error: str | None
    """Why its last attempt failed; null if it did not."""
    started_at: datetime
    """When it was first started."""
    finished_at: datetime | None
    """When it ended; null while it is open."""


class Stages(Schema):
    """The stages of a run, in the order in which they were first started."""

    items: list[Stage]
    """All stages."""


class Iteration(Schema):
    """One creator step and one solver step."""

    number: int
    """Its number, from 0. Iteration 0 is the warm-up if there is one."""
    status: Literal["done", "open"]
    """`done` when all its stages are done."""
    seconds: float
    """Seconds spent on its stages."""
    children: int | None
    """Prompts of its batch that the creator evolved; null in a warm-up and before the batch is mixed."""
    buffer: int | None
    """Prompts of its batch that were kept from the pool."""
    pairs: int | None
    """Preference pairs that it trained on; null for an online loss, which trains on every response."""
    responses: int | None
    """Responses that an online loss trained on; null for a preference loss."""
    stages: list[Stage]
    """Its stages."""


class Iterations(Schema):
    """The iterations of a run that have started, in order."""

    items: list[Iteration]
    """All stages."""


def stage_of(row: StageRow, secrets: Collection[str]) -> Stage:
    """Describes a stage with its rate, without these secrets."""
    rate = row.done / row.seconds if row.done and row.seconds > 0 else None
    return Stage(
        iteration=row.iteration,
        name=row.name,
        status=row.status,  # pyright: ignore[reportArgumentType] - as checked by the table
        attempts=row.attempts,
        done=row.done,
        total=row.total,
        seconds=row.seconds,
        per_second=rate,
        eta_s=seconds_left(row.status, row.done, row.total, row.seconds),
        counts=row.counts,
        error=None if row.error is None else redact(row.error, secrets),
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def seconds_left(status: str, done: int, total: int, seconds: float) -> float | None:
    """The seconds that a running stage still takes at its mean rate so far; None if it is not known."""
    known = status == "running" and done > 0 and seconds > 0 and total >= done
    return (total - done) * seconds / done if known else None


def iteration_of(number: int, played: int, rows: list[StageRow], secrets: Collection[str]) -> Iteration:
    """Describes an iteration by its stages, where the run has finished `played` iterations."""
    counts = {row.name: row.counts for row in rows if row.status == "done"}
    mixed = counts.get("mix", {})
    return Iteration(
        number=number,
        status="done" if number < played else "open",
        seconds=sum(row.seconds for row in rows),
        children=mixed.get("children"),
        buffer=mixed.get("buffer"),
        pairs=counts.get("pair", {}).get("pairs"),
        responses=counts.get("advantage", {}).get("responses"),
        stages=[stage_of(row, secrets) for row in rows],
    )
