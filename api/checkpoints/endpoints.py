"""Checkpoints of a run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from fastapi import APIRouter

from api.schema import RunName, Schema
from api.service import Here
from store.checkpoints import read_checkpoints
from store.reports import training_ends
from store.runs import find_run

router = APIRouter(prefix="/v1/runs/{run}/checkpoints", tags=["checkpoints"])


class Checkpoint(Schema):
    """One stored, verified version of the policy."""

    number: int
    """0 is the given model; number t + 1 was trained in iteration t."""
    iteration: int
    """The iteration that made it."""
    parent: int | None
    """The checkpoint that it was trained from."""
    path: str
    """Its folder on the server, in the Hugging Face layout with a manifest."""
    digest: str
    """SHA-256 over the manifest: equal digests are equal weights."""
    steps: int | None
    """Optimiser steps that were logged; null where nothing was trained."""
    loss: float | None
    """Mean loss of the last steps."""
    margin: float | None
    """Mean reward margin of the last steps."""
    dropped: Mapping[str, int]
    """Preference pairs that were not trained on, by reason."""
    created_at: datetime
    """When it was published."""


class Checkpoints(Schema):
    """Checkpoints by number."""

    items: list[Checkpoint]
    """All of the run; the last is its current policy."""


@router.get("")
def list_checkpoints(here: Here, run: RunName) -> Checkpoints:
    """Which policies has the run made, and how did their training end?"""
    with here.reading() as conn:
        row = find_run(conn, run)
        rows, ends = read_checkpoints(conn, row.id), training_ends(conn, row.id)
    items: list[Checkpoint] = []
    for one in rows:
        end = ends.get(one.number)
        items.append(Checkpoint(
            number=one.number, iteration=one.iteration, parent=one.parent, path=one.path, digest=one.digest,
            steps=end and end.steps, loss=end and end.loss, margin=end and end.margin, dropped=one.dropped,
            created_at=one.created_at))
    return Checkpoints(items=items)
