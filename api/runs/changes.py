"""Changing runs: what is wanted of them, the user's words about them, whether lists show them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from sqlalchemy import Connection

from api.runs.representation import answered, tags_in, words_tag
from api.runs.requests import NewWords
from api.runs.schemas import RunDetails
from api.schema import RunName
from api.service import Here, Service
from eva.errors import ConflictError, EvaError
from orchestrator.hold.control import Wish, ask, held
from store.rows import RunRow
from store.runs import events
from store.runs.runs import annotate_run, find_run, get_run, rename_run, set_deleted

router = APIRouter(prefix="/v1/runs", tags=["runs"])

_IF_MATCH: dict[str, Any] = {
    "name": "if-match",
    "in": "header",
    "required": True,
    "schema": {"type": "string", "maxLength": 1000},
    "description": "The ETag of the run as you know it; `*` takes any.",
}
"""Required, with an error of its own where it is missing."""


class TagMissingError(EvaError):
    """A change without If-Match: it might undo what somebody else has written."""

    status = 428


class TagDiffersError(EvaError):
    """Somebody has changed the run since the client looked at it."""

    status = 412


@router.post("/{run}:pause", status_code=202)
def pause_run(here: Here, run: RunName, response: Response) -> RunDetails:
    """Let a run stop at its next batch boundary; at once where nobody plays it."""
    return _wish(here, run, "pause", response)


@router.post("/{run}:cancel", status_code=202)
def cancel_run(here: Here, run: RunName, response: Response) -> RunDetails:
    """End a run for good at its next batch boundary; at once where nobody plays it."""
    return _wish(here, run, "cancel", response)


@router.patch("/{run:run}", openapi_extra={"parameters": [_IF_MATCH]})
def change_run(
    here: Here,
    run: RunName,
    words: NewWords,
    response: Response,
    if_match: Annotated[str | None, Header(max_length=1000, include_in_schema=False)] = None,
) -> RunDetails:
    """Change a run's name, labels or note. What it does meanwhile does not matter to the tag."""
    if if_match is None:
        raise TagMissingError(
            "the request has no If-Match",
            expected="the ETag of the run as you know it",
            next_move=f"Send the ETag that GET /v1/runs/{run} gives, so that nobody's words are lost",
        )
    renames = words.name is not None
    with _standing(here, run, "renamed") if renames else here.store.transaction() as conn:
        row = find_run(conn, run)
        seen = [tag.strip('"').rpartition("-")[2] for tag in tags_in(if_match)]
        if if_match.strip() != "*" and words_tag(row.name, row.note, list(row.tags)) not in seen:
            raise TagDiffersError(
                f"run {row.name} has other words than those of this tag",
                expected="its present ETag",
                next_move=f"Look at it again: GET /v1/runs/{row.name}",
            )
        if words.name is not None and words.name != row.name:
            rename_run(conn, row.id, words.name)
            events.append_event(conn, row.id, "renamed", {"from": row.name, "to": words.name})
        annotate_run(
            conn,
            row.id,
            note=row.note if words.note is None else words.note,
            tags=row.tags if words.tags is None else tuple(words.tags),
        )
        return answered(conn, get_run(conn, row.id), response)


@router.delete("/{run:run}", status_code=204)
def delete_run(here: Here, run: RunName) -> Response:
    """Hide a run from lists. Nothing of it is removed, and it can be restored."""
    with _standing(here, run, "deleted") as conn:
        _hide(conn, find_run(conn, run), hidden=True)
    return Response(status_code=204)


@router.post("/{run}:restore")
def restore_run(here: Here, run: RunName, response: Response) -> RunDetails:
    """Show a deleted run in lists again."""
    with here.store.transaction() as conn:
        row = find_run(conn, run)
        _hide(conn, row, hidden=False)
        return answered(conn, get_run(conn, row.id), response)


def _wish(here: Service, reference: str, wish: Wish, response: Response) -> RunDetails:
    row = ask(here.store, _row(here, reference), wish)
    with here.reading() as conn:
        return answered(conn, get_run(conn, row.id), response)


@contextmanager
def _standing(here: Service, reference: str, done: str) -> Generator[Connection]:
    """One transaction on a run that nobody plays and that does not wait for a driver. Raises ConflictError."""
    row = _row(here, reference)
    with held(here.store, row) as conn:
        if get_run(conn, row.id).status == "queued":
            raise ConflictError(
                f"run {row.name} waits for a driver and cannot be {done}",
                expected="a run that stands",
                next_move=f"Pause it first: POST /v1/runs/{row.name}:pause",
            )
        yield conn


def _hide(conn: Connection, row: RunRow, *, hidden: bool) -> None:
    if (row.deleted_at is not None) != hidden:
        set_deleted(conn, row.id, hidden)
        events.append_event(conn, row.id, "deleted" if hidden else "restored")


def _row(here: Service, reference: str) -> RunRow:
    with here.reading() as conn:
        return find_run(conn, reference)
