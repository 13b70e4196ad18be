"""One stage of one iteration: it stores results in batches, and a row that says whether it is complete."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

from sqlalchemy import Connection

from eva.errors import LeaseLostError, RunStoppedError, StoreError
from eva.runtime.failpoints import reach
from eva.runtime.logs import process_log_context
from eva.runtime.worker_reports import added_since
from eva.solver.chunks import Chunk
from eva.types import Floats
from orchestrator.hold.claimed_run import ClaimedRun
from orchestrator.hold.writer import BatchWriter
from orchestrator.watch.tracing import NoSpans, StageSpan
from store.rows import StageRow
from store.runs import events, stages

FLUSH_RESULTS = 64
FLUSH_S = 1.0
MOST_KEPT = 1024
"""While a batch is being stored the next one grows, up to so many results: then the stage waits."""

log = logging.getLogger(__name__)


class Batch:
    """Results of a stage that are stored together. Nothing is added to a batch once it was taken from its stage."""

    def prepare(self, total_s: float | None = None, hurry: threading.Event | None = None) -> None:
        """Writes the files without which the results must not be stored. Batches that have some override it.

        Safe to repeat. Raises DiskFullError when the disk is still full after `total_s` seconds, or seconds after
        `hurry` was set.
        """

    def store(self, conn: Connection) -> None:
        """Writes the results to the database. May be called again, in another transaction, if this one fails."""

    def tallies(self) -> Mapping[str, float]:
        """Returns what the results add to the stage's counts."""
        return {}


@dataclass(slots=True)
class _Report:
    """A batch, and how far the stage was when it was taken."""

    batch: Batch
    done: int
    total: int
    seconds: float
    metered: Mapping[str, int]
    stored: bool = False


class Stage:
    """A context manager that the journal opens and the stage's own last write closes.

    Results are kept in memory and flushed in batches, each in one transaction, by a thread of its own while the stage
    goes on. A stage that is already complete runs again without writing: its inputs are stored and its decisions derive
    from seeds, so it returns the same.

    With a `chunk` of a batch that was cut, it is that chunk's part of the stage: the first part opens the stage's row,
    the last one completes it.
    """

    def __init__(
        self, run: ClaimedRun, iteration: int, name: str, total: int, chunk: Chunk | None = None, *, done: int = 0
    ) -> None:
        self.run, self.iteration, self.name, self.chunk = run, iteration, name, chunk
        self._total, self._done, self._kept = total, done, 0
        self._stored_at = time.monotonic()
        self._metered = run.meter.read()
        self._writer = BatchWriter(f"{name} writer")
        self._report: _Report | None = None
        self.complete = False
        self._open = ExitStack()
        self._span: StageSpan = NoSpans()

    def __enter__(self) -> Self:
        open_stage = stages.open_stage if self.chunk is None or self.chunk.first else stages.reopen_stage

        def open_row(conn: Connection) -> StageRow:
            row = open_stage(conn, self.run.id, self.iteration, self.name, total=self._total)
            reach("stage.open.before_commit")
            return row

        row = self.run.write(open_row)
        reach("stage.open.after_commit")
        self._stored_at = time.monotonic()
        self.complete = row.status == "done"
        if not self.complete:
            self._open.enter_context(
                process_log_context(iteration=self.iteration, stage=self.name, attempt=row.attempts)
            )
            self._span = self._open.enter_context(
                self.run.spans.stage(self.iteration, self.name, row.attempts, self._total, self.chunk)
            )
            self.run.inform_planner()
            log.info("the stage begins")
            self.run.listener.on_stage_open(self.iteration, self.name, self._done, self._total)
            if self.chunk is not None:
                self.run.listener.on_progress(self._done, self._total, self.chunk_figures())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            failure = self._writer.end()
            if error is not None and not self.complete:
                log.warning("the stage ends unfinished: %s", str(error) or type(error).__name__)
                # No finished result is generated twice, whatever the error; a lost lease or store takes no writes.
                if not isinstance(error, LeaseLostError | StoreError) and not isinstance(
                    failure, LeaseLostError | StoreError
                ):
                    self._keep_unstored()
            if error is None and failure is not None:
                raise failure
            if error is None:
                reach("stage.left")
        finally:
            self._open.__exit__(kind, error, trace)

    def take(self) -> Batch:
        """Returns the results that were kept since it was called last. Stages that keep results override it."""
        return Batch()

    def chunk_figures(self) -> dict[str, float]:
        """The chunk's place in its batch, counted from 1, as figures to show."""
        return {} if self.chunk is None else {"chunk": self.chunk.number + 1, "chunks": self.chunk.of}

    def advance(self, count: int) -> None:
        """Reports that `count` more of the stage's units are finished."""
        if count:
            self._done += count
            self.run.listener.on_progress(self._done, self._total, {})

    def expect(self, total: int) -> None:
        """Sets the stage's number of units when it was not known as the stage opened."""
        self._total = total
        if not self.complete:
            self.run.listener.on_stage_open(self.iteration, self.name, self._done, total)

    def report(self, done: int, total: int, values: Mapping[str, float]) -> None:
        """Reports progress that is made elsewhere, with figures worth showing."""
        self._done, self._total = done, total
        self.run.listener.on_progress(done, total, values)

    def flush_when_full(self) -> None:
        """Counts one more kept result, and has them stored when a batch is full or a second has passed.

        Waits only when too many are kept. Raises what has kept the batch before from being stored, and RunStoppedError
        when the run is to pause or cancel.
        """
        self._kept += 1
        due = self._kept >= FLUSH_RESULTS or time.monotonic() - self._stored_at > FLUSH_S
        if due and (self._kept >= MOST_KEPT or not self._writer.busy):
            self._writer.drain()
            report = self._take_report()
            self._writer.put(partial(self._store_batch, report))

    def flush(self) -> None:
        """Stores the kept results and waits for it. Raises RunStoppedError when the run is to pause or cancel."""
        self._writer.drain()
        if self._kept:
            self._store_batch(self._take_report())

    def close(self, change: Callable[[Connection], None] | None = None, /, **counts: object) -> None:
        """Stores the remaining results and completes the stage in one transaction. A complete stage stays as it is.

        The part of a chunk that others follow stores them and leaves the stage open.
        """
        if self.complete:
            return
        if self.chunk is not None and not self.chunk.last:
            self._close_part(change)
            return

        self._writer.drain()
        report = self._take_report()

        def finish(conn: Connection) -> None:
            self._store(conn, report)
            if change is not None:
                change(conn)
            stages.close_stage(conn, self.run.id, self.iteration, self.name, counts)
            events.append_event(conn, self.run.id, "stage_closed", counts, iteration=self.iteration, stage=self.name)
            reach("stage.close.before_commit")

        self._write(report, finish)
        reach("stage.close.after_commit")
        self.complete = True
        self._span.set_counts(counts)
        log.info("the stage is done", extra={"data": counts})
        self.run.listener.on_stage_close(self.iteration, self.name, counts)

    def _close_part(self, change: Callable[[Connection], None] | None) -> None:
        self._writer.drain()
        report = self._take_report()

        def finish(conn: Connection) -> None:
            self._store(conn, report)
            if change is not None:
                change(conn)
            reach("chunk.close.before_commit")

        self._write(report, finish)
        reach("chunk.close.after_commit")

    def _take_report(self) -> _Report:
        now, metering = time.monotonic(), self.run.meter.read()
        self._report = _Report(
            self.take(), self._done, self._total, now - self._stored_at, added_since(self._metered, metering)
        )
        self._kept, self._stored_at, self._metered = 0, now, metering
        return self._report

    def _store_batch(self, report: _Report, hurry: threading.Event | None = None) -> None:
        """Stores a batch, in the writer's thread or the stage's own."""

        def store(conn: Connection) -> None:
            self._store(conn, report)
            reach("stage.flush.before_commit")

        self._write(report, store, hurry)
        reach("stage.flush.after_commit")

    def _write(
        self, report: _Report, change: Callable[[Connection], None], hurry: threading.Event | None = None
    ) -> None:
        report.batch.prepare(hurry=hurry)
        try:
            self.run.write(change, hurry)
        except RunStoppedError:
            report.stored = True
            raise
        report.stored = True

    def _keep_unstored(self) -> None:
        """Stores what an interrupted stage has in memory, with the batch that was being stored and is not."""
        before = [] if self._report is None or self._report.stored else [self._report]
        reports = [*before, self._take_report()]

        def prepare(total_s: float) -> None:
            for report in reports:
                report.batch.prepare(total_s)

        def keep(conn: Connection) -> None:
            for report in reports:
                self._store(conn, report)
            reach("stage.keep.before_commit")

        self.run.keep(keep, prepare)

    def _store(self, conn: Connection, report: _Report) -> None:
        report.batch.store(conn)
        stages.advance_stage(
            conn,
            self.run.id,
            self.iteration,
            self.name,
            report.done,
            total=report.total,
            seconds=report.seconds,
            tallies={**report.batch.tallies(), **report.metered},
        )


def null_for_nan(values: Floats) -> list[float | None]:
    """The values as the database stores them: NULL for NaN."""
    return [None if value != value else value for value in values.tolist()]
