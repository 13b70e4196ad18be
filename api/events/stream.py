"""Server-Sent Events from the store. Nothing is remembered here, so any server can continue where another stopped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Generator

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from api.events.schemas import event_of
from api.security.access import Caller
from api.service import Here, Service, secrets_in
from eva.errors import InputError, StoreError
from store.rows import EventRow, RunRow
from store.runs.events import events_after
from store.runs.runs import get_run

POLL_S = 0.5
KEEP_ALIVE_S = 15.0
BATCH = 500
RETRY_MS = 1000
_OVER = ("finished", "failed", "cancelled")


def room(here: Here, request: Request) -> Generator[None]:
    """Counts one open stream until the response is sent. Raises BusyError when too many are open."""
    caller: Caller | None = getattr(request.state, "caller", None)
    with here.streams.one_more(caller and caller.prefix):
        yield


def is_over(run: RunRow, seq: int) -> bool:
    """Whether no event follows `seq`, unless somebody resumes a failed run."""
    return run.status in _OVER and seq >= run.event_seq


def first_after(last_event_id: str | None, after: int) -> int:
    """The event after which a stream starts: `Last-Event-ID` takes precedence over `after`. Raises InputError."""
    if not last_event_id:
        return after
    if not (last_event_id.isascii() and last_event_id.isdigit() and int(last_event_id) < 2**63):
        raise InputError(
            f"Last-Event-ID is {last_event_id!r}",
            expected="the `id` of an event of this stream",
            next_move="Leave it out to start at the first event",
        )
    return int(last_event_id)


async def stream(here: Service, run_id: int, seq: int) -> AsyncGenerator[str]:
    """The run's events after number `seq`, until the run is over, the server stops or the database fails."""
    yield f"retry: {RETRY_MS}\n\n"
    sent_at = time.monotonic()
    while not here.stopping():
        try:
            run, rows = await run_in_threadpool(_read, here, run_id, seq)
        except StoreError:
            return
        secrets = secrets_in(run)
        for row in rows:
            yield f"id: {row.seq}\ndata: {event_of(row, secrets).model_dump_json()}\n\n"
            seq, sent_at = row.seq, time.monotonic()
        if is_over(run, seq):
            return
        if time.monotonic() - sent_at > KEEP_ALIVE_S:
            yield ": still here\n\n"
            sent_at = time.monotonic()
        if len(rows) < BATCH:
            await asyncio.sleep(POLL_S)


def _read(here: Service, run_id: int, seq: int) -> tuple[RunRow, list[EventRow]]:
    with here.reading() as conn:
        # the run first: every event that its row counts is then among those that are read
        run = get_run(conn, run_id)
        return run, events_after(conn, run_id, seq, BATCH)
