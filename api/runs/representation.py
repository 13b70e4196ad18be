"""A run as it is answered: with how it is launched, and with a tag for what may be changed."""

from __future__ import annotations

import hashlib
import json

from fastapi import Response
from sqlalchemy import Connection

from api.runs.schemas import Launch, RunDetails, details_of
from store.rows import RunRow
from store.runs import launches
from store.views.run_pages import standing


def shown(conn: Connection, run: RunRow) -> RunDetails:
    """The run with its config and its launch."""
    found = launches.read_launch(conn, run.id)
    launch = (
        None
        if found is None
        else Launch(
            state=found.state,
            attempt=found.attempt,
            job=found.job,
            restarts=found.restarts,
            restarted=found.restarted,
            ahead=launches.count_ahead(conn, found) if found.state == "queued" else None,
            message=found.message,
        )
    )
    return details_of(standing(conn, run), launch)


def answered(conn: Connection, run: RunRow, response: Response) -> RunDetails:
    """The run as the answer to a change, with its address and tag."""
    details = shown(conn, run)
    response.headers.update({"Location": f"/v1/runs/{run.name}", "ETag": tag_of(details)})
    return details


def tag_of(details: RunDetails) -> str:
    """The tag of an answer: a part for all of it, and one for the user's own words alone."""
    return f'"{_digest(details.model_dump_json())}-{words_tag(details.name, details.note, details.tags)}"'


def words_tag(name: str, note: str, tags: list[str]) -> str:
    """The part of a tag that changes only with what a user may change: a run that plays is another each second."""
    return _digest(json.dumps([name, note, tags]))


def tags_in(header: str) -> list[str]:
    """The tags of If-Match or If-None-Match."""
    return [one.strip().removeprefix("W/") for one in header.split(",")]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
