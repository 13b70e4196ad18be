"""Plays the runs of a study one behind the other. Started again, it goes on where it was."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from eva.errors import (
    DiskFullError,
    EvaError,
    LeaseTakenError,
    NoRoomError,
    RunStoppedError,
    StoreAwayError,
    StoreError,
)
from eva.studies.plan import Cell, PlannedRun
from orchestrator.launch.new_run import IdempotencyKey, LaunchRequest, launch, launch_fork
from orchestrator.launch.resume import prepare
from store.rows import RunRow
from store.runs import runs, studies
from store.runs.studies import StudyRow
from store.session import Store

State = Literal["finished", "failed", "paused", "cancelled", "elsewhere", "waiting"]

ENDING = (StoreAwayError, StoreError, DiskFullError, NoRoomError)
"""Errors that the next run would meet as well: they end the study, which goes on there when it is started again."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PlayedRun:
    """How a run of a study stands after its turn. `waiting`: the run that it continues is not finished; `elsewhere`:
    another driver plays it. `seconds`: of this turn; 0 if it had been finished before."""

    planned: PlannedRun
    run: RunRow | None
    state: State
    seconds: float = 0.0
    error: str | None = None


Play = Callable[[RunRow], None]
Tell = Callable[[PlayedRun], None]


def play_study(
    store: Store, study: StudyRow, planned: Sequence[PlannedRun], play: Play, tell: Tell, *, accept: bool = False
) -> list[PlayedRun]:
    """Plays the planned runs in order with `play`, and tells how each one ended.

    A run that fails is listed with its error, and the others go on; the next start resumes it. Raises errors of the
    store, the disk or the machine, which would meet the next run as well. `accept`: go on with changed code.
    """
    played: dict[Cell, PlayedRun] = {}
    for each in planned:
        result = _turn(store, study, each, played, play, accept)
        played[each.cell] = result
        tell(result)
    return [*played.values()]


def stored_run(store: Store, study: StudyRow, cell: Cell) -> RunRow | None:
    """Returns the run in this place of the study, if there is one."""
    with store.transaction() as conn:
        for row in studies.study_runs_of(conn, study.id):
            if Cell(row.seed, row.model, row.arm, row.shared) == cell:
                return runs.get_run(conn, row.run_id)
    return None


def _turn(
    store: Store, study: StudyRow, planned: PlannedRun, played: dict[Cell, PlayedRun], play: Play, accept: bool
) -> PlayedRun:
    parent = None if planned.parent is None else played[planned.parent]
    if parent is not None and parent.state != "finished":
        return PlayedRun(planned, None, "waiting")
    run: RunRow | None = None
    began = time.monotonic()
    try:
        run = stored_run(store, study, planned.cell) or _create(store, study, planned, parent and parent.run)
        if run.status == "finished":
            return PlayedRun(planned, run, "finished")
        if run.status == "cancelled":
            return PlayedRun(planned, run, "cancelled")
        play(prepare(store, run, planned.config, accept=accept))
        state, error = "finished", None
    except LeaseTakenError as taken:
        state, error = "elsewhere", str(taken)
    except RunStoppedError as stopped:
        cancelled = run is not None and _again(store, run).status == "cancelled"
        state, error = "cancelled" if cancelled else "paused", str(stopped)
    except ENDING:
        raise
    except Exception as failure:
        # whatever went wrong in this run is stored in its row; the study must not end with it
        log.exception("run %s of study %s failed", run.name if run else planned.config.name, study.name)
        kind = "" if isinstance(failure, EvaError) else f"{type(failure).__name__}: "
        state, error = "failed", f"{kind}{failure}"
    return PlayedRun(planned, run and _again(store, run), state, time.monotonic() - began, error)


def _create(store: Store, study: StudyRow, planned: PlannedRun, parent: RunRow | None) -> RunRow:
    """Stores the run. Its key makes it one and the same run, wherever a driver dies in between."""
    cell = planned.cell
    kind = "shared" if cell.shared else "arm"
    request = LaunchRequest(
        planned.config,
        tags=(f"study:{study.name}", f"{kind}:{cell.arm}"),
        key=IdempotencyKey(f"study {study.id}: {kind} {cell.arm}, seed {cell.seed}, model {cell.model}"),
    )
    launched = launch(store, request) if parent is None else launch_fork(store, parent, planned.at, request)
    with store.transaction() as conn:
        studies.add_run(
            conn,
            study.id,
            seed=cell.seed,
            model=cell.model,
            arm=cell.arm,
            shared=cell.shared,
            run_id=launched.run.id,
        )
    return launched.run


def _again(store: Store, run: RunRow) -> RunRow:
    with store.transaction() as conn:
        return runs.get_run(conn, run.id)
