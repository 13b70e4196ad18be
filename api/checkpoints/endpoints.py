"""The checkpoints of a run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi import Path as PathParameter
from fastapi.responses import StreamingResponse
from sqlalchemy import Connection

from api.checkpoints.archive import archive, archive_size, members
from api.schema import LARGEST_SMALL, RunName, Schema
from api.service import Here, Service
from eva.errors import CheckpointError, NotFoundError
from eva.solver.manifest import Manifest, checkpoint_folder, is_stored, located, read_manifest
from eva.storage.stored_manifests import kept_copy
from eva.types import Player
from store.game.checkpoints import read_checkpoint, read_checkpoints
from store.rows import CheckpointRow, RunRow
from store.runs.runs import find_run
from store.views.report import TrainingEnd, training_ends

router = APIRouter(prefix="/v1/runs/{run}/checkpoints", tags=["checkpoints"])

CheckpointNumber = Annotated[int, PathParameter(ge=0, le=LARGEST_SMALL, description="The number of a checkpoint.")]


class Checkpoint(Schema):
    """One stored, verified version of the policy, or of a creator with weights of its own."""

    player: Player
    """Whose weights these are."""
    number: int
    """Its number: 0 is the initial model; t + 1 was trained in iteration t."""
    iteration: int
    """The iteration that made it."""
    parent: int | None
    """The checkpoint that it was trained from."""
    folder: str | None
    """Its folder below the server's data directory, in the Hugging Face layout with a manifest; null if it is
    elsewhere."""
    address: str | None
    """Its address in an object store (checkpoints.store); null if it is a folder."""
    digest: str
    """SHA-256 of the manifest: equal digests mean equal weights."""
    steps: int | None
    """Optimiser steps that were logged; null if nothing was trained."""
    loss: float | None
    """Mean loss of the last steps."""
    margin: float | None
    """Mean reward margin of the last steps."""
    dropped: Mapping[str, int]
    """Preference pairs that were not trained on, by reason."""
    bytes: int | None
    """The size of its files; null where neither they nor a copy of their manifest is on the server's machine."""
    created_at: datetime
    """When it was published."""
    pruned_at: datetime | None
    """When its files were deleted, because no run needs them; null if they are there."""


class File(Schema):
    """A file of a checkpoint."""

    path: str
    """Its path in the checkpoint's folder."""
    size: int
    """Its size in bytes."""
    sha256: str
    """The SHA-256 of its content."""


class CheckpointDetails(Checkpoint):
    """A checkpoint with its manifest."""

    files: list[File] | None
    """Every file, by path; null if its folder is not on the server's machine or is no longer complete, or, for one in
    an object store, if there is no copy of its manifest here."""


class Checkpoints(Schema):
    """Checkpoints by number."""

    items: list[Checkpoint]
    """All checkpoints of the player. The solver's last one is the run's current policy."""


Whose = Annotated[Player, Query(description="Whose: the solver's, or those of a creator with weights of its own.")]


@router.get("")
def list_checkpoints(here: Here, run: RunName, player: Whose = "solver") -> Checkpoints:
    """All policies of the run, or all weights of its creator, and how their training ended."""
    with here.reading() as conn:
        row = find_run(conn, run)
        rows, ends = read_checkpoints(conn, row.id, player), training_ends(conn, row.id, player)
    return Checkpoints(
        items=[Checkpoint(**_facts(here, checkpoint, ends.get(checkpoint.number))) for checkpoint in rows]
    )


@router.get("/{number}")
def get_checkpoint(here: Here, run: RunName, number: CheckpointNumber, player: Whose = "solver") -> CheckpointDetails:
    """One checkpoint with its manifest: its files with their sizes and digests."""
    with here.reading() as conn:
        row = find_run(conn, run)
        checkpoint, ends = _existing(conn, row, number, player), training_ends(conn, row.id, player)
    manifest = _manifest(here, checkpoint)
    files = None if manifest is None else [File.model_validate(file) for file in manifest.files]
    return CheckpointDetails(**_facts(here, checkpoint, ends.get(number)), files=files)


@router.get(
    "/{number}/archive",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "A tar archive of the checkpoint's folder. `ETag` is the SHA-256 of its manifest.json, "
            "which has that of every other file.",
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
def get_checkpoint_archive(
    here: Here, run: RunName, number: CheckpointNumber, player: Whose = "solver"
) -> StreamingResponse:
    """The files of one checkpoint, to serve or to train on elsewhere."""
    with here.reading() as conn:
        row = find_run(conn, run)
        checkpoint = _existing(conn, row, number, player)
    folder, manifest = Path(located(checkpoint.path, here.settings.runs_dir)), _manifest(here, checkpoint)
    try:
        if manifest is None or not folder.is_relative_to(here.settings.data_dir):
            raise FileNotFoundError(folder)
        name = f"{row.name}-{'creator-' if player == 'creator' else ''}{number}"
        found = members(folder, manifest, name)
    except OSError as error:
        raise NotFoundError(
            f"checkpoint {number} of run {row.name} is not below the data directory of this service",
            expected="a checkpoint that the run has made and that was not pruned",
            next_move=f"Fetch it from {checkpoint.path}"
            if is_stored(checkpoint.path)
            else "Choose another checkpoint; the initial model is where the config's model.path says",
        ) from error
    headers = {
        "Content-Length": str(archive_size(found)),
        "Content-Disposition": f'attachment; filename="{name}.tar"',
        "ETag": f'"{checkpoint.digest}"',
        # weights do not get smaller, and the length must stay true
        "Content-Encoding": "identity",
    }
    return StreamingResponse(archive(found), media_type="application/octet-stream", headers=headers)


def _existing(conn: Connection, run: RunRow, number: int, player: Player) -> CheckpointRow:
    checkpoint = read_checkpoint(conn, run.id, number, player)
    if checkpoint is None:
        whose = " of its creator" if player == "creator" else ""
        raise NotFoundError(
            f"run {run.name} has no checkpoint {number}{whose}",
            expected="0, or the number of a trained checkpoint",
            next_move=f"List them at /v1/runs/{run.name}/checkpoints",
        )
    return checkpoint


def _manifest(here: Service, checkpoint: CheckpointRow) -> Manifest | None:
    """The manifest that was recorded with the checkpoint, None where it is not there any more."""
    if is_stored(checkpoint.path):
        return kept_copy(checkpoint.digest, here.settings.data_dir)
    try:
        manifest = read_manifest(checkpoint_folder(checkpoint.path, here.settings.runs_dir))
    except (CheckpointError, OSError):
        return None
    return manifest if manifest.digest == checkpoint.digest else None


def _facts(here: Service, checkpoint: CheckpointRow, end: TrainingEnd | None) -> dict[str, Any]:
    path, data = Path(located(checkpoint.path, here.settings.runs_dir)), here.settings.data_dir
    manifest = _manifest(here, checkpoint)
    return {
        "player": checkpoint.player,
        "number": checkpoint.number,
        "iteration": checkpoint.iteration,
        "parent": checkpoint.parent,
        "digest": checkpoint.digest,
        "address": checkpoint.path if is_stored(checkpoint.path) else None,
        "folder": path.relative_to(data).as_posix() if path.is_relative_to(data) else None,
        "steps": end and end.steps,
        "loss": end and end.loss,
        "margin": end and end.margin,
        "dropped": checkpoint.dropped,
        "bytes": manifest and manifest.bytes,
        "created_at": checkpoint.created_at,
        "pruned_at": checkpoint.pruned_at,
    }
