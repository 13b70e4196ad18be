"""The events of a run, in pages or as a stream."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from api.events.schemas import SENT, EventPage, event_of
from api.events.stream import first_after, is_over, room, stream
from api.schema import PAGE, PageSize, RunName
from api.service import Here, Service, secrets_in
from store.rows import RunRow
from store.runs.events import events_after
from store.runs.runs import find_run

router = APIRouter(prefix="/v1/runs/{run}/events", tags=["events"])

After = Annotated[int, Query(ge=0, le=2**63 - 1, description="Only events with a number larger than this.")]


@router.get("")
def list_events(here: Here, run: RunName, after: After = 0, limit: PageSize = PAGE) -> EventPage:
    """The events after number `after`, in order."""
    with here.reading() as conn:
        row = find_run(conn, run)
        rows, secrets = events_after(conn, row.id, after, limit), secrets_in(row)
    return EventPage(items=[event_of(row, secrets) for row in rows], last=rows[-1].seq if rows else after)


@router.get(
    "/stream",
    dependencies=[Depends(room)],
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Server-Sent Events: `id` is an event's number, `data` the event as JSON.",
            "content": {"text/event-stream": {"schema": {"type": "string"}, "itemSchema": SENT}},
        },
        204: {"description": "The run is over and you have all its events: do not reconnect."},
    },
)
async def stream_events(
    here: Here,
    run: RunName,
    after: After = 0,
    last_event_id: Annotated[
        str | None,
        Header(
            max_length=100,
            json_schema_extra={"pattern": "^[0-9]{0,18}$"},
            description="The number of the last event that you received; browsers send it automatically.",
        ),
    ] = None,
) -> Response:
    """The events of the run as they happen, until the run is over.

    A client that reconnects with `Last-Event-ID` continues after that event: none is lost, none is sent twice.
    """
    start = first_after(last_event_id, after)
    row = await run_in_threadpool(_existing_run, here, run)
    if is_over(row, start):
        return Response(status_code=204)
    return StreamingResponse(
        stream(here, row.id, start), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
    )


def _existing_run(here: Service, run: str) -> RunRow:
    with here.reading() as conn:
        return find_run(conn, run)
