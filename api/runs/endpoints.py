"""Lists of runs, and one run."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from api.cursors import read_cursor, write_cursor
from api.runs.representation import shown, tag_of, tags_in
from api.runs.schemas import RunDetails, RunPage, Status, run_of
from api.schema import PAGE, Cursor, Moment, PageSize, RunName
from api.service import Here
from store.runs.runs import find_run
from store.views.run_pages import RunFilter, run_page

router = APIRouter(prefix="/v1/runs", tags=["runs"])


@router.get("")
def list_runs(
    here: Here,
    status: Annotated[list[Status] | None, Query(description="Only runs with this status; may be repeated.")] = None,
    name: Annotated[str | None, Query(max_length=200, description="Only runs whose name contains this.")] = None,
    tag: Annotated[str | None, Query(max_length=200, description="Only runs with this tag.")] = None,
    created_after: Annotated[Moment | None, Query(description="Only runs created at this time or later.")] = None,
    created_before: Annotated[Moment | None, Query(description="Only runs created before this time.")] = None,
    deleted: Annotated[bool, Query(description="Include deleted runs.")] = False,
    limit: PageSize = PAGE,
    cursor: Cursor = None,
) -> RunPage:
    """All runs, newest first."""
    run_filter = RunFilter(status or (), name, tag, created_after, created_before, deleted)
    place = read_cursor(cursor, int)
    with here.reading() as conn:
        rows = run_page(conn, run_filter, limit + 1, None if place is None else place[0])
    page = rows[:limit]
    return RunPage(
        items=[run_of(row) for row in page], next=write_cursor(page[-1].run.id) if len(rows) > limit else None
    )


@router.get("/{run:run}", responses={304: {"description": "The run has not changed since the ETag in If-None-Match."}})
def get_run(
    here: Here,
    run: RunName,
    response: Response,
    if_none_match: Annotated[
        str | None, Header(max_length=1000, description="The ETags that you have already.")
    ] = None,
) -> RunDetails:
    """One run with its config."""
    with here.reading() as conn:
        details = shown(conn, find_run(conn, run))
    tag = tag_of(details)
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if if_none_match is not None and tag in tags_in(if_none_match):
        return Response(status_code=304, headers=headers)  # pyright: ignore[reportReturnType] - FastAPI passes it on
    response.headers.update(headers)
    return details
