"""The points that are sent to tracking services. They are made from what is stored, so they never change."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

from sqlalchemy import Connection

from eva.runtime.tracker import Axis, TrackingPoint
from store.game import checkpoints
from store.rows import StageRow
from store.runs import runs, stages
from store.views import statistics

STATISTICS: dict[str, tuple[str, ...]] = {
    "sample": ("pool",),
    "pair": ("batch", "payoff"),
    "advantage": ("batch", "payoff"),
    "audit": ("audit",),
    "categorise": ("categories",),
    "evaluate": ("heldout", "win_rates"),
    "evaluate_initial": ("heldout", "win_rates"),
}
"""The statistics that a stage stores when it closes. Those of a whole iteration are in ITERATION."""

ITERATION = ("diversity", "cost")
_NAMED = {"win_rates": "win_rate"}
_KEYS = ("split", "mode", "operator", "category")
_LEFT_OUT = ("iteration", "checkpoint", "seed")


@dataclass(frozen=True, slots=True)
class _Block:
    """The points of one closed stage or one finished iteration: `count` of them, after point number `before`."""

    before: int
    count: int
    stage: StageRow | None
    iteration: int
    at_ms: int
    steps_before: int


def points_after(conn: Connection, run_id: int, sent: int, most: int) -> list[TrackingPoint]:
    """Returns the points after number `sent`, in order, at most `most` of them."""
    points = (
        point
        for block in _blocks(conn, run_id)
        if block.before + block.count > sent
        for point in _points(conn, run_id, block)
        if point.number > sent
    )
    return list(islice(points, most))


def _blocks(conn: Connection, run_id: int) -> Iterator[_Block]:
    """The blocks in the order in which they were stored, up to the first stage that is not closed."""
    finished, before, steps = runs.get_run(conn, run_id).iteration, 0, 0
    rows = stages.read_stages(conn, run_id)
    for index, row in enumerate(rows):
        if row.status != "done" or row.finished_at is None:
            return
        at_ms = int(row.finished_at.timestamp() * 1000)
        trained = int(row.counts.get("steps", 0)) if row.name == "train" else 0
        yield _Block(before, trained + 1, row, row.iteration, at_ms, steps)
        before, steps = before + trained + 1, steps + trained
        last = index + 1 == len(rows) or rows[index + 1].iteration > row.iteration
        if last and row.iteration < finished:
            yield _Block(before, 1, None, row.iteration, at_ms, steps)
            before += 1


def _points(conn: Connection, run_id: int, block: _Block) -> Iterator[TrackingPoint]:
    stage, iteration = block.stage, block.iteration
    number = block.before
    if stage is not None and stage.name == "train":
        for number, step in enumerate(checkpoints.read_training_steps(conn, run_id, iteration + 1), block.before + 1):
            yield TrackingPoint(
                number,
                "training_step",
                block.steps_before + number - block.before,
                block.at_ms,
                numbers_of(step.values, "train"),
            )
    names = ITERATION if stage is None else STATISTICS.get(stage.name, ())
    of_policy = stage is not None and stage.name in ("evaluate_initial", "evaluate")
    stored = statistics.list_statistics(
        conn, run_id, names, -1 if stage and stage.name == "evaluate_initial" else iteration
    )
    values = {} if stage is None else _of_stage(stage)
    for _, name, data in stored:
        values |= numbers_of(data, _NAMED.get(name, name))
    axis: Axis = "policy" if of_policy else "iteration"
    position = iteration + int(of_policy and stage is not None and stage.name == "evaluate")
    yield TrackingPoint(block.before + block.count, axis, position, block.at_ms, values)


def _of_stage(stage: StageRow) -> dict[str, float]:
    """The seconds and counts of a stage, and the tokens that engines generated per second."""
    name = f"stage/{stage.name}"
    values = {f"{name}/seconds": stage.seconds, **numbers_of(stage.counts, name)}
    tokens = values.get(f"{name}/tokens")
    if tokens is not None and stage.seconds > 0 and "responses" in stage.counts:
        values[f"{name}/tokens_per_s"] = tokens / stage.seconds
    return values


def numbers_of(value: Any, name: str) -> dict[str, float]:
    """Returns every finite number in a JSON value, by its path.

    An object in a list has its split, mode and operator in the path, in place of its index. Other lists, such as
    intervals and quantiles, are left out.
    """
    if isinstance(value, bool) or value is None:
        return {}
    if isinstance(value, int | float):
        return {name: float(value)} if math.isfinite(value) else {}
    numbers: dict[str, float] = {}
    if isinstance(value, Mapping):
        for key, inner in cast("Mapping[str, Any]", value).items():
            if key not in _LEFT_OUT:
                numbers |= numbers_of(inner, f"{name}/{key}")
    elif isinstance(value, list | tuple):
        for inner in cast("Sequence[Any]", value):
            if isinstance(inner, Mapping):
                item = cast("Mapping[str, Any]", inner)
                path = "/".join(str(item[key]) for key in _KEYS if key in item)
                numbers |= numbers_of(item, f"{name}/{path}") if path else {}
    return numbers
