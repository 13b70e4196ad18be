"""The logs of a run's driver and workers that are on this machine."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api.schema import RunName, Schema
from api.service import Here, secrets_in
from eva.runtime.log_files import list_logs, read_log
from eva.runtime.redaction import redact
from store.runs.runs import find_run

router = APIRouter(prefix="/v1/runs/{run}/logs", tags=["logs"])

MAIN = "eva.log"


class Log(Schema):
    """A log of the run."""

    name: str
    """Its name; `eva.log` is the driver's."""
    bytes: int
    """Its size."""


class Logs(Schema):
    """Lines of one log."""

    files: list[Log]
    """The logs on the server's machine; none if another machine played the run."""
    name: str
    """The log that the lines come from."""
    lines: list[str]
    """Whole lines, without what looks like a secret."""
    start: int
    """The byte at which the lines start."""
    end: int
    """The byte after the lines: send it as `after` to continue."""
    bytes: int
    """The log's size."""


@router.get("")
def read_logs(
    here: Here,
    run: RunName,
    name: Annotated[str, Query(max_length=200, description="One of `files`.")] = MAIN,
    lines: Annotated[int, Query(ge=1, le=5000, description="The most lines to return, within 256 KiB.")] = 200,
    after: Annotated[
        int | None, Query(ge=0, le=2**63 - 1, description="Only lines from this byte on; without it: the last lines.")
    ] = None,
) -> Logs:
    """Lines of a log of the run's driver or workers: the last ones, or those after a byte."""
    with here.reading() as conn:
        row = find_run(conn, run)
    folder, secrets = here.settings.logs_dir / row.folder_name, secrets_in(row)
    files = [Log(name=log.name, bytes=log.size) for log in list_logs(folder)]
    if not files and name == MAIN:
        return Logs(files=[], name=name, lines=[], start=0, end=0, bytes=0)
    piece = read_log(folder, name, lines=lines, after=after)
    return Logs(
        files=files,
        name=name,
        lines=redact("\n".join(piece.lines), secrets).split("\n") if piece.lines else [],
        start=piece.start,
        end=piece.end,
        bytes=piece.size,
    )
