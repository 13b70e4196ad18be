"""Lists of runs, and one run."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from api.cursors import read_cursor, write_cursor
from api.runs.parameters import CreatedAfter, CreatedBefore, Deleted, OfConfig, OfStatus, Tag, Words
from api.runs.representation import shown, tag_of, tags_in
from api.runs.schemas import RunDetails, RunPage, run_of
from api.schema import PAGE, Cursor, PageSize, RunName
from api.service import Here
from store.runs.runs import find_run
from store.views.run_lists.pages import RunFilter, count_runs, run_page

router = APIRouter(prefix="/v1/runs", tags=["runs"])


@router.get("")
def list_runs(
    here: Here,
    status: OfStatus = None,
    name: Annotated[str | None, Query(max_length=200, description="Only runs whose name contains this.")] = None,
    tag: Tag = None,
    words: Words = None,
    config: OfConfig = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    deleted: Deleted = False,
    sort: Annotated[
        str,
        Query(
            max_length=300,
            description="Order: `created`, `name`, `status`, `iteration`, `prompts`, `seed`, `seconds`, `tokens`, "
            "`steps`, `cost`, `reward` or `info` (of the newest batch), `heldout.SET`, `change.SET` or `best.SET` "
            "(greedy success of the newest policy, its change, and that of the best policy), `config.KEY`; a minus "
            "puts the largest first. Runs without the value come last.",
        ),
    ] = "-created",
    key: Annotated[
        list[Annotated[str, Query(max_length=200)]] | None,
        Query(max_length=50, description="A key of the config to show, such as `training.beta`; may be repeated."),
    ] = None,
    limit: PageSize = PAGE,
    cursor: Cursor = None,
) -> RunPage:
    """All runs, newest first unless sorted otherwise."""
    run_filter = RunFilter(status or (), name, tag, words, created_after, created_before, deleted, config or ())
    place = read_cursor(cursor, int)
    with here.reading() as conn:
        rows = run_page(conn, run_filter, limit + 1, None if place is None else place[0], sort)
        total = count_runs(conn, run_filter)
    page = rows[:limit]
    return RunPage(
        total=total,
        items=[run_of(row, key or ()) for row in page],
        next=write_cursor(page[-1].run.id) if len(rows) > limit else None,
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
