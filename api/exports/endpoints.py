"""Exports: asked for, looked after, fetched. And the card that a dataset goes with."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import FileResponse, PlainTextResponse
from sqlalchemy import Connection
from typing_extensions import TypeAliasType

from api.exports.writer import file_of
from api.problems import RefusedError
from api.schema import LARGEST_INTEGER, RunName, Schema
from api.service import Here, secrets_in
from eva.errors import BusyError, NotFoundError
from eva.prompts.dataset_card import dataset_card
from eva.runtime.redaction import redact_json
from store.rows import RunRow
from store.runs import export_jobs
from store.runs.export_jobs import ExportRow
from store.runs.runs import find_run
from store.views.exports import count_rows

router = APIRouter(prefix="/v1/runs/{run}", tags=["exports"])

MOST_SHOWN, MOST_UNFINISHED = 200, 20
MEDIA_TYPES = {"jsonl": "application/jsonl", "parquet": "application/vnd.apache.parquet"}
ExportKind = TypeAliasType("ExportKind", Literal["pairs", "prompts", "responses", "judged"])
ExportFormat = TypeAliasType("ExportFormat", Literal["jsonl", "parquet"])
ExportNumber = Annotated[int, Path(ge=1, le=LARGEST_INTEGER, description="An export's number.")]


class ExportRequest(Schema):
    """What to write."""

    kind: ExportKind
    """`pairs`: preferences in TRL's format; `prompts` with their lineage; `responses` with their rewards; `judged`:
    each prompt of each pool and batch with its informativeness, responses and rewards."""
    format: ExportFormat = "jsonl"
    """The file's format."""


class Export(Schema):
    """A file that was asked for."""

    id: int
    """Its number."""
    kind: ExportKind
    """What is in it."""
    format: ExportFormat
    """Its format."""
    status: Literal["waiting", "running", "done", "failed"]
    """Where it stands."""
    rows: int | None
    """How many rows it has, when it is done."""
    bytes: int | None
    """Its size, when it is done."""
    error: str | None
    """Why it failed."""
    created_at: datetime
    """When it was asked for."""
    finished_at: datetime | None
    """When it was done, or failed."""
    expires_at: datetime | None
    """When it goes."""


class Exports(Schema):
    """Exports of a run, newest first."""

    items: list[Export]
    """Those that have not gone."""


class NotReadyError(RefusedError):
    """The file is not written yet, or never will be."""

    status = 409


@router.post("/exports", status_code=202)
def create_export(here: Here, run: RunName, request: Request, response: Response, wanted: ExportRequest) -> Export:
    """Ask for a file: it is written meanwhile, also when the service ends in between. `Location` says where to look.

    The one that is being written is answered where it is the same.
    """
    with here.store.transaction() as conn:
        row = find_run(conn, run)
        if (unfinished := export_jobs.count_unfinished(conn)) >= MOST_UNFINISHED:
            raise BusyError(
                f"{unfinished} exports wait to be written",
                expected=f"at most {MOST_UNFINISHED}",
                next_move="Ask again when some are done",
            )
        export = export_jobs.request_export(conn, row.id, wanted.kind, wanted.format)
    request.app.state.exports.wake()
    response.headers["Location"] = f"/v1/runs/{row.name}/exports/{export.id}"
    return Export.model_validate(export)


@router.get("/exports")
def list_exports(here: Here, run: RunName) -> Exports:
    """Which files were asked for?"""
    with here.reading() as conn:
        found = export_jobs.list_exports(conn, find_run(conn, run).id, MOST_SHOWN)
    return Exports(items=[Export.model_validate(one) for one in found])


@router.get("/exports/{export}")
def get_export(here: Here, run: RunName, export: ExportNumber) -> Export:
    """How far is it?"""
    with here.reading() as conn:
        return Export.model_validate(_found(conn, find_run(conn, run), export))


@router.get(
    "/exports/{export}/file",
    response_class=FileResponse,
    responses={
        200: {
            "description": "The file. Parts of it may be asked for (`Range`).",
            "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in MEDIA_TYPES.values()},
        }
    },
)
def get_export_file(here: Here, run: RunName, export: ExportNumber) -> FileResponse:
    """The file itself."""
    with here.reading() as conn:
        row = find_run(conn, run)
        found = _found(conn, row, export)
    if found.status != "done":
        raise NotReadyError(
            f"export {export} is {found.status}",
            expected="one that is done",
            next_move=f"Look at /v1/runs/{row.name}/exports/{export} until it is",
            headers={"Retry-After": "2"},
        )
    path = file_of(here.settings, found)
    if not path.exists():
        raise NotFoundError(
            f"the file of export {export} does not lie on this machine",
            expected="the service that wrote it, over the same data directory",
            next_move="Ask for it there, or ask for a new export",
        )
    return FileResponse(path, media_type=MEDIA_TYPES[found.format], filename=f"{row.name}-{found.kind}.{found.format}")


@router.get(
    "/card",
    response_class=PlainTextResponse,
    responses={
        200: {
            "description": "Markdown with a YAML head, as dataset hubs read it.",
            "content": {"text/markdown": {"schema": {"type": "string"}}},
        }
    },
)
def get_card(here: Here, run: RunName) -> PlainTextResponse:
    """The card that goes with the run's exports: what they are, how they came to be, how to load them."""
    with here.reading() as conn:
        row = find_run(conn, run)
        counts = count_rows(conn, row.id)
    card = dataset_card(row.name, redact_json(row.config, secrets_in(row)), row.config_hash, counts)
    return PlainTextResponse(card, media_type="text/markdown")


def _found(conn: Connection, run: RunRow, export: int) -> ExportRow:
    found = export_jobs.read_export(conn, run.id, export)
    if found is None:
        raise NotFoundError(
            f"run {run.name} has no export {export}",
            expected="the number of one that has not expired",
            next_move=f"List them at /v1/runs/{run.name}/exports, or ask for a new one",
        )
    return found
