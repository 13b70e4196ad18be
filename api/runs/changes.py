"""Changes of runs: pause and cancel, name, labels and note, delete and restore."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response

from api.runs.representation import run_response, tags_in, words_tag
from api.runs.requests import RunChanges
from api.runs.schemas import RunDetails
from api.schema import RunName
from api.service import Here, Service
from eva.errors import EvaError
from orchestrator.hold.control import StopRequest, force_cancel, hide, request_stop, stopped_run
from store.rows import RunRow
from store.runs import events
from store.runs.runs import annotate_run, find_run, get_run, rename_run

router = APIRouter(prefix="/v1/runs", tags=["runs"])

_IF_MATCH: dict[str, Any] = {
    "name": "if-match",
    "in": "header",
    "required": True,
    "schema": {"type": "string", "maxLength": 1000},
    "description": "The ETag of the run as you last saw it; `*` matches any.",
}
"""Documented as required; a request without it gets an error of its own."""


FORCED_AFTER_S = 10.0
"""Seconds that a driver has to obey before a forced cancel ends it: shorter than a client waits for a response."""


class TagMissingError(EvaError):
    """A change without If-Match, which might overwrite somebody else's change."""

    status = 428


class TagDiffersError(EvaError):
    """Somebody else has changed the run in the meantime."""

    status = 412


@router.post("/{run}:pause", status_code=202)
def pause_run(here: Here, run: RunName, response: Response) -> RunDetails:
    """Pause a run at its next batch boundary; at once if no driver plays it."""
    return _request_stop(here, run, "pause", response)


@router.post("/{run}:cancel", status_code=202)
def cancel_run(
    here: Here,
    run: RunName,
    response: Response,
    force: Annotated[
        bool,
        Query(description="Take the run from a driver that does not obey within 10 s, and end the driver."),
    ] = False,
) -> RunDetails:
    """Cancel a run for good at its next batch boundary; at once if no driver plays it."""
    if force:
        force_cancel(here.store, _row(here, run), FORCED_AFTER_S)
    return _request_stop(here, run, "cancel", response)


@router.patch("/{run:run}", openapi_extra={"parameters": [_IF_MATCH]})
def change_run(
    here: Here,
    run: RunName,
    changes: RunChanges,
    response: Response,
    if_match: Annotated[str | None, Header(max_length=1000, include_in_schema=False)] = None,
) -> RunDetails:
    """Change a run's name, labels or note. The run's own progress does not invalidate its ETag here."""
    if if_match is None:
        raise TagMissingError(
            "the request has no If-Match",
            expected="the ETag of the run as you last saw it",
            next_move=f"Send the ETag that GET /v1/runs/{run} returns, so that no other change is overwritten",
        )
    renames = changes.name is not None
    with stopped_run(here.store, _row(here, run), "renamed") if renames else here.store.transaction() as conn:
        row = find_run(conn, run)
        seen = [tag.strip('"').rpartition("-")[2] for tag in tags_in(if_match)]
        if if_match.strip() != "*" and words_tag(row.name, row.note, list(row.tags)) not in seen:
            raise TagDiffersError(
                f"the name, labels or note of run {row.name} have changed since this ETag",
                expected="its current ETag",
                next_move=f"Get the run again: GET /v1/runs/{row.name}",
            )
        if changes.name is not None and changes.name != row.name:
            rename_run(conn, row.id, changes.name)
            events.append_event(conn, row.id, "renamed", {"from": row.name, "to": changes.name})
        annotate_run(
            conn,
            row.id,
            note=row.note if changes.note is None else changes.note,
            tags=row.tags if changes.tags is None else tuple(changes.tags),
        )
        return run_response(conn, get_run(conn, row.id), response)


@router.delete("/{run:run}", status_code=204)
def delete_run(here: Here, run: RunName) -> Response:
    """Hide a run from lists. Nothing is removed, and the run can be restored."""
    with stopped_run(here.store, _row(here, run), "deleted") as conn:
        hide(conn, find_run(conn, run), hidden=True)
    return Response(status_code=204)


@router.post("/{run}:restore")
def restore_run(here: Here, run: RunName, response: Response) -> RunDetails:
    """Show a deleted run in lists again."""
    with here.store.transaction() as conn:
        row = find_run(conn, run)
        hide(conn, row, hidden=False)
        return run_response(conn, get_run(conn, row.id), response)


def _request_stop(here: Service, reference: str, request: StopRequest, response: Response) -> RunDetails:
    row = request_stop(here.store, _row(here, reference), request)
    with here.reading() as conn:
        return run_response(conn, get_run(conn, row.id), response)


def _row(here: Service, reference: str) -> RunRow:
    with here.reading() as conn:
        return find_run(conn, reference)
