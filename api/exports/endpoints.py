"""Exports: requested, watched, downloaded; and the dataset card that goes with them."""

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
from eva.cards.dataset_card import dataset_card
from eva.errors import BusyError, NotFoundError
from eva.runtime.redaction import redact_json
from store.rows import RunRow
from store.runs import export_jobs
from store.runs.export_jobs import ExportRow
from store.runs.runs import find_run
from store.views.exports import count_rows

router = APIRouter(prefix="/v1/runs/{run}", tags=["exports"])

MOST_SHOWN, MOST_UNFINISHED = 200, 20
MEDIA_TYPES = {"jsonl": "application/jsonl", "parquet": "application/vnd.apache.parquet"}
ExportKind = TypeAliasType("ExportKind", Literal["pairs", "prompts", "responses", "judged", "heldout", "rollouts"])
ExportFormat = TypeAliasType("ExportFormat", Literal["jsonl", "parquet"])
ExportNumber = Annotated[int, Path(ge=1, le=LARGEST_INTEGER, description="The number of an export.")]


class ExportRequest(Schema):
    """An export to write."""

    kind: ExportKind
    """`pairs`: preferences in TRL's format; `prompts` with their lineage; `responses` with their rewards; `judged`:
    each prompt of each pool and batch with its informativeness, responses and rewards; `heldout`: the responses of each
    policy to the held-out prompts, with their rewards; `rollouts`: responses with their sampled tokens and
    log-probabilities, as far as the run keeps them."""
    format: ExportFormat = "jsonl"
    """The file's format."""


class Export(Schema):
    """A requested file."""

    id: int
    """Its number."""
    kind: ExportKind
    """What is in it."""
    format: ExportFormat
    """Its format."""
    status: Literal["waiting", "running", "done", "failed"]
    """Its status."""
    rows: int | None
    """How many rows it has; null until it is done."""
    bytes: int | None
    """Its size; null until it is done."""
    error: str | None
    """Why it failed; null if it did not."""
    created_at: datetime
    """When it was requested."""
    finished_at: datetime | None
    """When it was done or failed; null before."""
    expires_at: datetime | None
    """When the file is removed."""


class Exports(Schema):
    """Exports of a run, newest first."""

    items: list[Export]
    """All exports whose files have not been removed."""


class NotReadyError(RefusedError):
    """The file is not written yet, or never will be."""

    status = 409


@router.post("/exports", status_code=202)
def create_export(
    here: Here, run: RunName, request: Request, response: Response, export_request: ExportRequest
) -> Export:
    """Request a file. It is written in the background, even if the service restarts; `Location` says where to look.

    If the same file is being written already, that export is returned.
    """
    with here.store.transaction() as conn:
        row = find_run(conn, run)
        if (unfinished := export_jobs.count_unfinished(conn)) >= MOST_UNFINISHED:
            raise BusyError(
                f"{unfinished} exports are waiting to be written",
                expected=f"at most {MOST_UNFINISHED}",
                next_move="Try again when some are done",
            )
        export = export_jobs.request_export(conn, row.id, export_request.kind, export_request.format)
    request.app.state.exports.wake()
    response.headers["Location"] = f"/v1/runs/{row.name}/exports/{export.id}"
    return Export.model_validate(export)


@router.get("/exports")
def list_exports(here: Here, run: RunName) -> Exports:
    """All exports of the run."""
    with here.reading() as conn:
        rows = export_jobs.list_exports(conn, find_run(conn, run).id, MOST_SHOWN)
    return Exports(items=[Export.model_validate(row) for row in rows])


@router.get("/exports/{export}")
def get_export(here: Here, run: RunName, export: ExportNumber) -> Export:
    """The state of an export."""
    with here.reading() as conn:
        return Export.model_validate(_existing(conn, find_run(conn, run), export))


@router.get(
    "/exports/{export}/file",
    response_class=FileResponse,
    responses={
        200: {
            "description": "The file. You may request parts of it (`Range`).",
            "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in MEDIA_TYPES.values()},
        }
    },
)
def get_export_file(here: Here, run: RunName, export: ExportNumber) -> FileResponse:
    """The exported file."""
    with here.reading() as conn:
        row = find_run(conn, run)
        export_row = _existing(conn, row, export)
    if export_row.status != "done":
        raise NotReadyError(
            f"export {export} is {export_row.status}",
            expected="an export that is done",
            next_move=f"Poll /v1/runs/{row.name}/exports/{export} until it is done",
            headers={"Retry-After": "2"},
        )
    path = file_of(here.settings, export_row)
    if not path.exists():
        raise NotFoundError(
            f"the file of export {export} is not on this machine",
            expected="the service that wrote it, with the same data directory",
            next_move="Download it there, or request a new export",
        )
    return FileResponse(
        path, media_type=MEDIA_TYPES[export_row.format], filename=f"{row.name}-{export_row.kind}.{export_row.format}"
    )


@router.get(
    "/card",
    response_class=PlainTextResponse,
    responses={
        200: {
            "description": "Markdown with YAML front matter, as dataset hubs read it.",
            "content": {"text/markdown": {"schema": {"type": "string"}}},
        }
    },
)
def get_card(here: Here, run: RunName) -> PlainTextResponse:
    """The dataset card of the run's exports: what they are, how they were made, how to load them."""
    with here.reading() as conn:
        row = find_run(conn, run)
        counts = count_rows(conn, row.id)
    card = dataset_card(row.name, redact_json(row.config, secrets_in(row)), row.config_hash, counts)
    return PlainTextResponse(card, media_type="text/markdown")


def _existing(conn: Connection, run: RunRow, export: int) -> ExportRow:
    row = export_jobs.read_export(conn, run.id, export)
    if row is None:
        raise NotFoundError(
            f"run {run.name} has no export {export}",
            expected="the number of an export that has not expired",
            next_move=f"List them at /v1/runs/{run.name}/exports, or request a new one",
        )
    return row
