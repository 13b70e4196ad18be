"""Launching runs: new ones, forks, and those that go on."""

from __future__ import annotations

import hashlib
import os
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response

from api.runs.representation import answered
from api.runs.requests import AS_IT_IS, ChangedKey, ForkRehearsal, Going, NewFork, NewRun, Rehearsal, RestartPolicy
from api.runs.schemas import RunDetails
from api.schema import RunName, Schema
from api.service import Here, Service, secrets_in
from eva.config import RunConfig
from eva.config.admission import admit
from eva.config.changes import config_differences
from eva.config.files import config_from_values, preset_values
from eva.errors import ConflictError
from eva.runtime.redaction import redact_json, secrets_of
from orchestrator.launch.launcher import Policy, queue_again
from store.rows import RunRow
from store.runs.runs import find_run, get_run

router = APIRouter(prefix="/v1/runs", tags=["runs"])

IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=200, description="Your name for this request: sent again, it gives the same run."),
]

_REHEARSED: dict[int | str, dict[str, Any]] = {
    200: {"model": Rehearsal, "description": "What it would be (`dry_run`)"},
    201: {"model": RunDetails, "description": "The run; it waits for a driver"},
}
_FORK_REHEARSED: dict[int | str, dict[str, Any]] = {
    200: {"model": ForkRehearsal, "description": "What it would be (`dry_run`)"},
    201: {"model": RunDetails, "description": "The fork; it waits for a driver"},
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
    from orchestrator.launch.registration import estimated, preflight
    from orchestrator.launch.submission import Key, Words, asked_before, resolved, submit

    key = None if idempotency_key is None else Key(idempotency_key, _body_hash(new))
    if key is not None and not dry_run and (found := asked_before(here.store, key)) is not None:
        return _told(here, found, response)
    given, values = _source(here, new)
    config = resolved(given, values, new.all_overrides, here.settings.allowed)
    if dry_run:
        response.status_code = 200
        values = config.model_dump(mode="json")
        shown = redact_json(values, secrets_of(values, os.environ))
        return Rehearsal(config=shown, estimate=estimated(config), checks=preflight(config))
    preflight(config)
    run = submit(here.store, config, Words(new.note, tuple(new.tags), _policy(new.restart)), key)
    return _told(here, run, response)


@router.post("/{run}:resume", status_code=202)
def resume_run(here: Here, run: RunName, response: Response, going: Going = AS_IT_IS) -> RunDetails:
    """Have a run played that stands still, from where it is. With other config or code only if changes are accepted."""
    from orchestrator.launch.resume import prepare

    row = _found(here, run)
    given: RunConfig | None = None
    if going.overrides:
        before = RunConfig.model_validate(row.config)
        given = admit(config_from_values(row.config, going.overrides), here.settings.allowed, before)
    row = prepare(here.store, row, given, accept=going.accept_changes)
    return _told(here, queue_again(here.store, row, going.restart and _policy(going.restart)), response)


@router.post("/{run}:fork", status_code=201, responses=_FORK_REHEARSED, response_model=None)
def fork_run(
    here: Here,
    run: RunName,
    new: NewFork,
    response: Response,
    dry_run: Annotated[bool, Query(description="Only say what it would be, and check it.")] = False,
    idempotency_key: IdempotencyKey = None,
) -> RunDetails | ForkRehearsal:
    """Launch a run that shares this one's history up to the start of an iteration."""
    from orchestrator.launch.forks import require_forkable
    from orchestrator.launch.registration import preflight_parts
    from orchestrator.launch.submission import Key, Words, asked_before, submit_fork

    parent = _found(here, run)
    key = None if idempotency_key is None else Key(idempotency_key, _body_hash(new, parent.name))
    if key is not None and not dry_run and (found := asked_before(here.store, key)) is not None:
        return _told(here, found, response)
    before = RunConfig.model_validate(parent.config)
    values = parent.config if new.config is None else _own(parent, new.config)
    config = admit(config_from_values(values, new.all_overrides), here.settings.allowed, before)
    require_forkable(parent, new.at, config)
    checks = preflight_parts(config)
    if dry_run:
        response.status_code = 200
        return _fork_rehearsed(parent, config, checks)
    row = submit_fork(here.store, parent, new.at, config, Words(new.note, tuple(new.tags), _policy(new.restart)), key)
    return _told(here, row, response)


def _source(here: Service, new: NewRun) -> tuple[RunConfig | None, dict[str, Any] | None]:
    """The config that the new one may name the same as, if there is one, and the values that the client gives."""
    if new.preset is not None:
        return config_from_values(preset_values(new.preset), []), new.config
    if new.run is None:
        return None, new.config
    with here.reading() as conn:
        row = find_run(conn, new.run)
    return RunConfig.model_validate(row.config), None if new.config is None else _own(row, new.config)


def _own(row: RunRow, values: dict[str, Any]) -> dict[str, Any]:
    """The values of a client that was shown this run's config."""
    from orchestrator.launch.submission import unhidden

    return unhidden(values, redact_json(row.config, secrets_in(row)), row.config)


def _fork_rehearsed(parent: RunRow, config: RunConfig, checks: list[str]) -> ForkRehearsal:
    secrets = secrets_in(parent)
    changed = config_differences(RunConfig.model_validate(parent.config), config)
    return ForkRehearsal(
        config=redact_json(config.model_dump(mode="json"), secrets),
        checks=checks,
        changes=[
            ChangedKey(key=one.key, before=redact_json(one.kept, secrets), after=redact_json(one.given, secrets))
            for one in changed
        ],
    )


def _policy(asked: RestartPolicy) -> Policy:
    return Policy(asked.times, asked.backoff_s)


def _body_hash(body: Schema, *more: str) -> str:
    return hashlib.sha256("\n".join([body.model_dump_json(), *more]).encode()).hexdigest()


def _found(here: Service, reference: str) -> RunRow:
    with here.reading() as conn:
        row = find_run(conn, reference)
    if row.deleted_at is not None:
        raise ConflictError(
            f"run {row.name} is deleted",
            expected="a run that is not",
            next_move=f"Restore it first: POST /v1/runs/{row.name}:restore",
        )
    return row


def _told(here: Service, run: RunRow, response: Response) -> RunDetails:
    with here.reading() as conn:
        return answered(conn, get_run(conn, run.id), response)
