"""A run as the API returns it: with its launch, and with an ETag."""

from __future__ import annotations

import hashlib
import json

from fastapi import Response
from sqlalchemy import Connection

from api.runs.schemas import Launch, RunDetails, details_of
from store.rows import RunRow
from store.runs import launches
from store.views.run_lists.pages import read_standing
from store.views.run_lists.waits import read_wait


def shown(conn: Connection, run: RunRow) -> RunDetails:
    """Describes a run with its config and its launch."""
    row = launches.read_launch(conn, run.id)
    launch = (
        None
        if row is None
        else Launch(
            state=row.state,
            attempt=row.attempt,
            job=row.job,
            restarts=row.restarts,
            restarted=row.restarted,
            ahead=launches.count_ahead(conn, row) if row.state == "queued" else None,
            message=row.message,
        )
    )
    standing = read_standing(conn, run)
    return details_of(standing, launch, read_wait(conn, standing, row is not None and row.state != "queued"))


def run_response(conn: Connection, run: RunRow, response: Response) -> RunDetails:
    """Describes a run in the response to a change, with the headers Location and ETag."""
    details = shown(conn, run)
    response.headers.update({"Location": f"/v1/runs/{run.name}", "ETag": tag_of(details)})
    return details


def tag_of(details: RunDetails) -> str:
    """The ETag of a run: a part for all of it, and a part for its name, note and labels alone."""
    return f'"{_digest(details.model_dump_json())}-{words_tag(details.name, details.note, details.tags)}"'


def words_tag(name: str, note: str, tags: list[str]) -> str:
    """The part of an ETag that changes only with what a user can change; a playing run changes every second."""
    return _digest(json.dumps([name, note, tags]))


def tags_in(header: str) -> list[str]:
    """The ETags in an If-Match or If-None-Match header."""
    return [tag.strip().removeprefix("W/") for tag in header.split(",")]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
