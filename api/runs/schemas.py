"""Schemas of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from typing_extensions import TypeAliasType

from api.iterations.schemas import seconds_left
from api.schema import Schema
from api.service import secrets_in
from eva.config.changes import flatten
from eva.runtime.redaction import redact, redact_json
from store.views.run_lists.pages import OpenStage as OpenStageRow
from store.views.run_lists.pages import StandingRow
from store.views.run_lists.waits import Wait as WaitRow

Status = TypeAliasType(
    "Status", Literal["created", "queued", "running", "interrupted", "paused", "finished", "failed", "cancelled"]
)
"""A named type, so that generated clients have one type for it."""


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
    """All its units."""
    eta_s: float | None
    """Seconds that it still takes at its mean rate so far; null if that is not known."""


class Holder(Schema):
    """The driver that plays a run."""

    host: str
    """The machine that it runs on."""
    pid: int | None
    """The id of its process there."""


class ForkedFrom(Schema):
    """Where a fork comes from."""

    run: str
    """The run whose history it shares."""
    iteration: int
    """The first iteration that the fork plays itself."""


class PolicyScore(Schema):
    """A policy's greedy responses to the prompts of a held-out set."""

    policy: int
    """Its number; 0 is the initial model."""
    success: float
    """Share of responses whose reward reaches `evaluation.success`."""
    reward: float | None
    """Their mean reward; null if none has one."""


class PairedChange(Schema):
    """A difference between two policies, paired by prompt."""

    value: float
    """The newer policy minus the older one."""
    low: float
    """Lower end of its 95 % interval."""
    high: float
    """Upper end of its 95 % interval."""


class SetOutcome(Schema):
    """What a run has achieved on one held-out set."""

    split: str
    """The name of the set."""
    first: PolicyScore
    """The first policy that was evaluated, which is the initial model unless `evaluation.when` says otherwise."""
    newest: PolicyScore | None
    """The newest policy that was evaluated; null until a second one is."""
    best: PolicyScore
    """The policy with the largest success so far; of equal ones that with the largest reward, then the first."""
    success_change: PairedChange | None
    """Change of the success; null where it is not stored."""
    reward_change: PairedChange | None
    """Change of the mean reward; null where it is not stored."""


class RunFacts(Schema):
    """What a list and a single run show of a run."""

    name: str
    """Its name."""
    status: Status
    """Its status. `interrupted`: its row says `running`, but no driver has held it for the time of a lease."""
    desired: Literal["run", "pause", "cancel"]
    """What its user wants. Its driver obeys at the next batch boundary."""
    iteration: int
    """The iteration that it plays, or `iterations` when it has played all."""
    iterations: int
    """How many iterations it plays."""
    stage: OpenStage | None
    """What it is doing, or did last if no driver plays it."""
    held_by: Holder | None
    """The driver that plays it, if any."""
    outcome: list[SetOutcome]
    """What it has achieved on each held-out set, the hardest for its first policy first; empty before an evaluation."""
    prompts: int
    """How many prompts it has. They are numbered from 0."""
    seed: int
    """The seed that all its random draws derive from."""
    last_event: int
    """The sequence number of its newest event."""
    forked_from: ForkedFrom | None
    """The run that it is a fork of, if any."""
    seconds: float
    """The time that its own stages took. What a fork shares with its parent was played there, and does not count."""
    tokens: int
    """The tokens of the responses that they generated, held-out ones too."""
    steps: int
    """The optimiser steps that its own trainings have logged."""
    cost_usd: float
    """What its own stages paid for LLM APIs, to write prompts and to judge, in US dollars by LiteLLM's prices."""
    error: str | None
    """Why it failed; null if it did not."""
    note: str
    """The user's note."""
    tags: list[str]
    """The user's labels."""
    created_at: datetime
    """When it was stored."""
    started_at: datetime | None
    """When it first started; null before."""
    finished_at: datetime | None
    """When it ended; null before."""
    deleted_at: datetime | None
    """When it was deleted; null if it was not."""


class Launch(Schema):
    """How a service launches a run."""

    state: Literal["queued", "taken", "submitted", "ended"]
    """`queued`: it waits for a driver; `taken`: its job is being submitted; `submitted`: Ray has it; `ended`: no driver
    is needed."""
    ahead: int | None
    """How many runs wait before it; null if it does not wait."""
    attempt: int
    """How many drivers were started for it."""
    job: str | None
    """The Ray job of its newest driver."""
    restarts: int
    """How many drivers that died are replaced."""
    restarted: int
    """How many were replaced since the run was last launched or resumed."""
    message: str | None
    """What it waits for, if not for its turn."""


class Wait(Schema):
    """What a run waits for while nothing of it advances."""

    what: str
    """`driver`: its process starts; `start`: Ray, engines and other workers start; else a stage of which nothing is
    done yet, as its model is loaded first."""
    since: datetime | None
    """Since when; null if that is not known."""
    usual_s: float | None
    """How long the start, or the whole stage, took in earlier runs of this store with the same model: the median of up
    to 20; null if there was none."""
    runs: int
    """How many runs that is the median of."""


class RunDetails(RunFacts):
    """One run with its config."""

    wait: Wait | None
    """What it waits for; null while it advances, waits in the queue, or is not played."""

    launch: Launch | None
    """How it is launched; null if a command such as `eva run` plays it."""

    config_hash: str
    """SHA-256 of the config: equal configs have equal hashes."""
    config: Mapping[str, Any]
    """The config in full. Credentials read `***`."""


class Run(RunFacts):
    """One alignment run of a list."""

    config: Mapping[str, Any]
    """The requested keys of its config, dotted; null where it has no such key. Credentials read `***`."""


class RunPage(Schema):
    """Runs, in the order that was asked for."""

    total: int | None
    """How many runs match, on all pages; null if they are more than 100,000."""
    items: list[Run]
    """The runs of this page."""
    next: str | None
    """The `cursor` of the next page; null on the last page."""


def run_of(row: StandingRow, keys: Sequence[str]) -> Run:
    """Describes a run for a list, with these keys of its config."""
    config = flatten(redact_json(row.run.config, secrets_in(row.run))) if keys else {}
    return Run(**_facts(row), config={key: config.get(key) for key in keys})


def details_of(row: StandingRow, launch: Launch | None, wait: WaitRow | None) -> RunDetails:
    """Describes one run with its config."""
    return RunDetails(
        **_facts(row),
        wait=None if wait is None else Wait.model_validate(wait),
        launch=launch,
        config_hash=row.run.config_hash,
        config=redact_json(row.run.config, secrets_in(row.run)),
    )


def _open_stage(row: OpenStageRow) -> OpenStage:
    return OpenStage(
        iteration=row.iteration,
        name=row.name,
        status=row.status,
        attempts=row.attempts,
        done=row.done,
        total=row.total,
        eta_s=seconds_left(row.status, row.done, row.total, row.seconds),
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
        "stage": None if row.stage is None else _open_stage(row.stage),
        "held_by": None if owner is None else Holder(host=str(owner.get("host")), pid=owner.get("pid")),
        "outcome": [SetOutcome.model_validate(each) for each in row.outcome],
        "prompts": run.prompt_count,
        "seed": run.seed,
        "last_event": run.event_seq,
        "forked_from": None if row.origin is None else ForkedFrom(run=row.origin, iteration=run.forked_at or 0),
        "seconds": row.spent.seconds,
        "tokens": int(row.spent.tokens),
        "steps": row.spent.steps,
        "cost_usd": row.spent.cost_usd,
        "error": error,
        "note": run.note,
        "tags": list(run.tags),
        "created_at": run.created_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "deleted_at": run.deleted_at,
    }
