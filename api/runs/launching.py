"""Launching runs: new ones, forks, and those that go on."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response

from api.runs.requests import Going, NewFork, NewRun, Rehearsal, RestartPolicy
from api.runs.schemas import RunDetails
from api.runs.showing import answered
from api.schema import RunName, Schema
from api.service import Here, Service
from eva.admission import admit
from eva.config import RunConfig
from eva.config_files import overridden
from eva.errors import ConflictError
from orchestrator.launch import Policy, queue_again
from store.rows import RunRow
from store.runs import find_run, get_run

router = APIRouter(prefix="/v1/runs", tags=["runs"])

IdempotencyKey = Annotated[str | None, Header(
    min_length=1, max_length=200, description="Your name for this request: sent again, it gives the same run.")]

_REHEARSED: dict[int | str, dict[str, Any]] = {
    200: {"model": Rehearsal, "description": "What it would be (`dry_run`)"},
    201: {"model": RunDetails, "description": "The run; it waits for a driver"},
}


@router.post("", status_code=201, responses=_REHEARSED, response_model=None)
def create_run(
    here: Here,
    new: NewRun,
    response: Response,
    dry_run: Annotated[bool, Query(description="Only say what it would be, and check it.")] = False,
    idempotency_key: IdempotencyKey = None,
) -> RunDetails | Rehearsal:
    """Launch a run: check it as `eva run` does, store it, and have it played when its turn comes."""
    # they bring the checks of models and rewards, which who only looks at runs does without
    from orchestrator.registration import estimated, preflight
    from orchestrator.submission import Key, Words, asked_before, resolved, submit

    key = None if idempotency_key is None else Key(idempotency_key, _body_hash(new))
    if key is not None and not dry_run and (found := asked_before(here.store, key)) is not None:
        return _told(here, found, response)
    config = resolved(new.preset, new.config or {}, new.all_overrides, here.settings.allowed)
    if dry_run:
        response.status_code = 200
        return Rehearsal(config=config.model_dump(mode="json"), estimate=estimated(config), checks=preflight(config))
    preflight(config)
    run = submit(here.store, config, Words(new.note, tuple(new.tags), _policy(new.restart)), key)
    return _told(here, run, response)


@router.post("/{run}:resume", status_code=202)
def resume_run(here: Here, run: RunName, response: Response, going: Going | None = None) -> RunDetails:
    """Have a run played that stands still, from where it is. With other config or code only if changes are accepted."""
    from orchestrator.resuming import prepare

    row, going = _found(here, run), going or Going()
    given: RunConfig | None = None
    if going.overrides:
        before = RunConfig.model_validate(row.config)
        given = admit(overridden(row.config, going.overrides), here.settings.allowed, before)
    row = prepare(here.store, row, given, accept=going.accept_changes)
    return _told(here, queue_again(here.store, row, going.restart and _policy(going.restart)), response)


@router.post("/{run}:fork", status_code=201)
def fork_run(
    here: Here, run: RunName, new: NewFork, response: Response, idempotency_key: IdempotencyKey = None,
) -> RunDetails:
    """Launch a run that shares this one's history up to the start of an iteration."""
    from orchestrator.forking import require_forkable
    from orchestrator.registration import preflight_parts
    from orchestrator.submission import Key, Words, asked_before, submit_fork

    parent = _found(here, run)
    key = None if idempotency_key is None else Key(idempotency_key, _body_hash(new, parent.name))
    if key is not None and (found := asked_before(here.store, key)) is not None:
        return _told(here, found, response)
    before = RunConfig.model_validate(parent.config)
    config = admit(overridden(parent.config, new.all_overrides), here.settings.allowed, before)
    require_forkable(parent, new.at, config)
    preflight_parts(config)
    row = submit_fork(here.store, parent, new.at, config, Words(new.note, tuple(new.tags), _policy(new.restart)), key)
    return _told(here, row, response)


def _policy(asked: RestartPolicy) -> Policy:
    return Policy(asked.times, asked.backoff_s)


def _body_hash(body: Schema, *more: str) -> str:
    return hashlib.sha256("\n".join([body.model_dump_json(), *more]).encode()).hexdigest()


def _found(here: Service, reference: str) -> RunRow:
    with here.reading() as conn:
        row = find_run(conn, reference)
    if row.deleted_at is not None:
        raise ConflictError(f"run {row.name} is deleted", expected="a run that is not",
                            next_move=f"Restore it first: POST /v1/runs/{row.name}:restore")
    return row


def _told(here: Service, run: RunRow, response: Response) -> RunDetails:
    with here.reading() as conn:
        return answered(conn, get_run(conn, run.id), response)
