"""Training metrics by step."""

from __future__ import annotations

from dataclasses import asdict
from itertools import groupby
from typing import Annotated

from fastapi import APIRouter, Query

from api.schema import LARGEST_SMALL, RunName, Schema
from api.service import Here
from eva.errors import NotFoundError
from eva.types import Player
from store.runs.runs import find_run
from store.views.training_metrics import MetricPoint, chunk_figures, metric_names, metric_points

router = APIRouter(prefix="/v1/runs/{run}/metrics", tags=["metrics"])

MOST_NAMES = 40


class Series(Schema):
    """One metric by step. All lists have the same length."""

    name: str
    """The metric, such as `loss`, `learning_rate`, `kl_k3`, `rewards/margins`, `logps_sum/chosen`.
    docs/reference/losses.md says what each is."""
    checkpoints: list[int]
    """The checkpoint that each step trained: number t + 1 in iteration t."""
    steps: list[int]
    """The step within that training."""
    places: list[int]
    """The step across all trainings, from 0."""
    values: list[float]
    """The values."""
    total: int
    """How many values there are. Where fewer are returned, each interval keeps its smallest and largest value."""
    missing: int
    """How many steps had a value that is not a finite number."""


class Metrics(Schema):
    """Metrics by step."""

    names: list[str]
    """All metrics that the run logged."""
    items: list[Series]
    """The requested metrics."""


@router.get("")
def read_metrics(
    here: Here,
    run: RunName,
    name: Annotated[
        list[str] | None, Query(max_length=MOST_NAMES, description="Only this metric; may be repeated.")
    ] = None,
    checkpoint: Annotated[
        int | None, Query(ge=0, le=LARGEST_SMALL, description="Only the training of this checkpoint.")
    ] = None,
    points: Annotated[int, Query(ge=2, le=5000, description="The most values to return of each metric.")] = 500,
    player: Annotated[
        Player, Query(description="Whose training: the solver's, or that of a creator with weights of its own.")
    ] = "solver",
) -> Metrics:
    """Loss, margins, log-probabilities, KL and learning rate by step. Falling `logps_sum/chosen` mean displacement."""
    with here.reading() as conn:
        row = find_run(conn, run)
        names = metric_names(conn, row.id, player)
        unknown = sorted({*(name or ())} - {*names})
        if unknown:
            raise NotFoundError(
                f"run {row.name} has no metric {unknown[0][:100]!r}",
                expected=f"one of {', '.join(names)}" if names else "a run that has trained",
                next_move="Leave out `name` to get all metrics",
            )
        values = metric_points(conn, row.id, name or names[:MOST_NAMES], points, checkpoint, player)
    return Metrics(
        names=names, items=[_series(key, list(group)) for key, group in groupby(values, lambda value: value.name)]
    )


class TrainedChunk(Schema):
    """One chunk of a batch in semi-online training (`training.sync_every`)."""

    iteration: int
    """The iteration, from 0."""
    chunk: int
    """The chunk in the order of training, from 1."""
    of: int
    """How many chunks the batch has."""
    prompts: int
    """Its prompts."""
    kept: int
    """How many of them had responses of the checkpoint before the chunk was judged, or are of the first chunk."""
    pairs: int
    """Its preference pairs."""
    skipped: dict[str, int]
    """Prompts without a pair, by reason."""
    reward: float | None
    """The mean reward of its responses; null if there is none."""
    start: int | None
    """Optimiser steps of the iteration before the chunk; null until the iteration's training is over."""
    steps: int | None
    """The optimiser steps taken on the chunk, with the pairs that earlier chunks left; null until then."""
    sampled: int
    """The optimiser steps of the newest policy that sampled responses for the chunk."""
    staleness: float | None
    """The mean age, in optimiser steps, of the responses in its pairs when it was trained on."""


class TrainedChunks(Schema):
    """The chunks of a run's batches."""

    items: list[TrainedChunk]
    """All chunks, in the order of training."""


@router.get("/chunks")
def read_chunks(here: Here, run: RunName) -> TrainedChunks:
    """The chunks of semi-online training: what each trained on, and how stale that was. Empty for other runs."""
    with here.reading() as conn:
        rows = chunk_figures(conn, find_run(conn, run).id)
    return TrainedChunks(items=[TrainedChunk.model_validate(asdict(row) | {"chunk": row.chunk + 1}) for row in rows])


def _series(name: str, points: list[MetricPoint]) -> Series:
    return Series(
        name=name,
        checkpoints=[point.checkpoint for point in points],
        steps=[point.step for point in points],
        places=[point.place for point in points],
        values=[point.value for point in points],
        total=points[0].total,
        missing=points[0].missing,
    )
