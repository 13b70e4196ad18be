"""Launching new runs and forks, and resuming stopped runs."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Header, Query, Response

from api.runs.representation import run_response
from api.runs.requests import (
    UNCHANGED,
    ChangedKey,
    ForkRehearsal,
    NewFork,
    NewRun,
    PlannedStage,
    Rehearsal,
    ResumeOptions,
    RunPlan,
)
from api.runs.schemas import RunDetails
from api.schema import RunName, Schema
from api.service import Here, Service, secrets_in
from eva.capacity.plan import Plan
from eva.capacity.report import arithmetic
from eva.config import RunConfig
from eva.config.admission import admit
from eva.config.allowlist import Allowlist
from eva.config.files import config_from_values
from eva.errors import ConflictError
from eva.runtime.redaction import redact_json, secrets_of
from orchestrator.launch import launcher
from store.rows import RunRow
from store.runs.runs import find_run, get_run

if TYPE_CHECKING:
    from orchestrator.launch.new_run import CheckedFork, ClientConfig, LaunchRequest

router = APIRouter(prefix="/v1/runs", tags=["runs"])

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        description="Your name for this request: the same request under the same name gives the same run.",
    ),
]

_REHEARSED: dict[int | str, dict[str, Any]] = {
    200: {"model": Rehearsal, "description": "What it would be (with `dry_run`)"},
    201: {"model": RunDetails, "description": "The run; it waits for a driver"},
}
_FORK_REHEARSED: dict[int | str, dict[str, Any]] = {
    200: {"model": ForkRehearsal, "description": "What it would be (with `dry_run`)"},
    201: {"model": RunDetails, "description": "The fork; it waits for a driver"},
}


@router.post("", status_code=201, responses=_REHEARSED, response_model=None)
def create_run(
    here: Here,
    new: NewRun,
    response: Response,
    dry_run: Annotated[
        bool, Query(description="Check the run and return what it would be, without storing it.")
    ] = False,
    idempotency_key: IdempotencyKey = None,
) -> RunDetails | Rehearsal:
    """Launch a run: check it as `eva run` does, store it, and play it when its turn comes."""
    # loads the checks of models and rewards, which a service that only shows runs does not need
    from orchestrator.launch.new_run import ClientConfig, launch, rehearse
    from orchestrator.launch.preflight import estimate, find_machines

    config = ClientConfig(_allowed(here), new.preset, new.run, new.config, tuple(new.all_overrides))
    if dry_run:
        response.status_code = 200
        checked = rehearse(here.store, config, find_machines(here.settings), here.check)
        values = checked.config.model_dump(mode="json")
        shown = redact_json(values, secrets_of(values, os.environ))
        plan = None if checked.plan is None else _plan(checked.plan)
        return Rehearsal(config=shown, estimate=estimate(checked), checks=list(checked.checks), plan=plan)
    request, machines = _request(new, config, idempotency_key), partial(find_machines, here.settings)
    return _run_details(here, launch(here.store, request, machines, here.check).run, response)


@router.post("/{run}:resume", status_code=202)
def resume_run(here: Here, run: RunName, response: Response, options: ResumeOptions = UNCHANGED) -> RunDetails:
    """Play a stopped run from where it stands. Other config or code is refused unless changes are accepted."""
    from orchestrator.launch.resume import prepare

    row = _existing(here, run)
    config: RunConfig | None = None
    if options.overrides:
        before = RunConfig.model_validate(row.config)
        config = admit(config_from_values(row.config, options.overrides), _allowed(here), before)
    row = prepare(here.store, row, config, accept=options.accept_changes)
    restart = options.restart and launcher.RestartPolicy(options.restart.times, options.restart.backoff_s)
    return _run_details(here, launcher.queue_again(here.store, row, restart), response)


@router.post("/{run}:fork", status_code=201, responses=_FORK_REHEARSED, response_model=None)
def fork_run(
    here: Here,
    run: RunName,
    new: NewFork,
    response: Response,
    dry_run: Annotated[
        bool, Query(description="Check the fork and return what it would be, without storing it.")
    ] = False,
    idempotency_key: IdempotencyKey = None,
) -> RunDetails | ForkRehearsal:
    """Launch a run that shares this run's history up to the start of an iteration."""
    from orchestrator.launch.new_run import ClientConfig, launch_fork, rehearse_fork
    from orchestrator.launch.preflight import find_machines

    parent = _existing(here, run)
    config = ClientConfig(_allowed(here), None, parent.name, new.config, tuple(new.all_overrides))
    if dry_run:
        response.status_code = 200
        machines = find_machines(here.settings)
        return _fork_rehearsal(parent, rehearse_fork(here.store, parent, new.at, config, machines, here.check))
    request = _request(new, config, idempotency_key, parent.name)
    machines = partial(find_machines, here.settings)
    return _run_details(here, launch_fork(here.store, parent, new.at, request, machines, here.check).run, response)


def _plan(plan: Plan) -> RunPlan:
    return RunPlan(
        machines=str(plan.machines),
        iteration_s=plan.iteration_s,
        total_s=plan.total_s,
        gpu_hours=plan.machines.gpus * plan.total_s / 3600,
        stages=[PlannedStage.model_validate(stage) for stage in plan.stages],
        disk=plan.disk,
        arithmetic=arithmetic(plan),
    )


def _allowed(here: Service) -> Allowlist:
    return replace(here.settings.allowed, uploads=here.settings.uploads_dir)


def _request(new: NewRun | NewFork, config: ClientConfig, key: str | None, *parent: str) -> LaunchRequest:
    from orchestrator.launch.new_run import IdempotencyKey, LaunchRequest

    return LaunchRequest(
        config,
        new.note,
        tuple(new.tags),
        launcher.RestartPolicy(new.restart.times, new.restart.backoff_s),
        None if key is None else IdempotencyKey(key, _body_hash(new, *parent)),
    )


def _fork_rehearsal(parent: RunRow, fork: CheckedFork) -> ForkRehearsal:
    secrets = secrets_in(parent)
    return ForkRehearsal(
        config=redact_json(fork.config.model_dump(mode="json"), secrets),
        checks=list(fork.checks),
        changes=[
            ChangedKey(
                key=change.key, before=redact_json(change.kept, secrets), after=redact_json(change.given, secrets)
            )
            for change in fork.changes
        ],
    )


def _body_hash(body: Schema, *more: str) -> str:
    # stored with the key: a request that is sent again after an upgrade must give the same digest
    return hashlib.sha256("\n".join([body.model_dump_json(), *more]).encode()).hexdigest()


def _existing(here: Service, reference: str) -> RunRow:
    """The run of this name. Raises NotFoundError, and ConflictError when it is deleted."""
    with here.reading() as conn:
        row = find_run(conn, reference)
    if row.deleted_at is not None:
        raise ConflictError(
            f"run {row.name} is deleted",
            expected="a run that is not deleted",
            next_move=f"Restore it first: POST /v1/runs/{row.name}:restore",
        )
    return row


def _run_details(here: Service, run: RunRow, response: Response) -> RunDetails:
    with here.reading() as conn:
        return run_response(conn, get_run(conn, run.id), response)
