"""One stage of one iteration: results kept in batches, and the row that says it is complete."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from sqlalchemy import Connection

from eva.errors import LeaseLostError, RunStoppedError, StoreError
from eva.runtime.failpoints import reach
from eva.runtime.logs import process_log_context
from eva.runtime.worker_reports import added_since
from orchestrator.hold.claimed_run import ClaimedRun
from orchestrator.watch.tracing import NoSpans, StageSpan
from store.rows import StageRow
from store.runs import events, stages

FLUSH_RESULTS = 64
FLUSH_S = 1.0

log = logging.getLogger(__name__)


class Stage:
    """Opened by the journal, closed by its own last write. Results kept are flushed in batches, each one transaction.

    A stage that was already closed runs through again without writing: its inputs are stored and its
    decisions derive from seeds, so it returns what it returned before.
    """

    def __init__(self, run: ClaimedRun, iteration: int, name: str, total: int) -> None:
        self.run, self.iteration, self.name = run, iteration, name
        self._total, self._done, self._kept = total, 0, 0
        self._stored_at = time.monotonic()
        self._metered = self._metering = run.meter.read()
        self.complete = False
        self._open = ExitStack()
        self._span: StageSpan = NoSpans()

    def __enter__(self) -> Self:
        def open_row(conn: Connection) -> StageRow:
            row = stages.open_stage(conn, self.run.id, self.iteration, self.name, total=self._total)
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
                self.run.spans.stage(self.iteration, self.name, row.attempts, self._total)
            )
            log.info("the stage begins")
            self.run.listener.opened(self.iteration, self.name, 0, self._total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None and not self.complete:
                log.warning("the stage ends unfinished: %s", str(error) or type(error).__name__)
                # What is finished is never generated twice, whatever ended it; a lost lease or store takes no writes.
                if not isinstance(error, LeaseLostError | StoreError):
                    self.run.keep(self._keep_all)
            if error is None:
                reach("stage.left")
        finally:
            self._open.__exit__(kind, error, trace)

    def store(self, conn: Connection) -> None:
        """Write the results kept since the last flush: the stages that keep any say how."""

    def tallies(self) -> Mapping[str, float]:
        """What the results kept add to the stage's counts."""
        return {}

    def forget(self) -> None:
        """Drop the results kept: they are stored."""

    def advance(self, count: int) -> None:
        """`count` more of the stage's units are finished."""
        if count:
            self._done += count
            self.run.listener.advanced(self._done, self._total, {})

    def expect(self, total: int) -> None:
        """The stage's number of units, where it was not known when it opened."""
        self._total = total
        if not self.complete:
            self.run.listener.opened(self.iteration, self.name, self._done, total)

    def report(self, done: int, total: int, values: Mapping[str, float]) -> None:
        """Progress that is made elsewhere, with figures worth showing."""
        self._done, self._total = done, total
        self.run.listener.advanced(done, total, values)

    def kept(self) -> None:
        """One more result is kept; flush when a batch is full or a second has passed."""
        self._kept += 1
        if self._kept >= FLUSH_RESULTS or time.monotonic() - self._stored_at > FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Store what was kept, in one transaction. The run's wish to pause or cancel is obeyed here."""
        if self._kept:
            try:
                self.run.write(self._flush_all)
                reach("stage.flush.after_commit")
            except RunStoppedError:
                self._stored()
                raise
            self._stored()

    def close(self, change: Callable[[Connection], None] | None = None, /, **counts: object) -> None:
        """Store what is left, and close the row in the same transaction. Closed stages stay as they are."""
        if self.complete:
            return

        def finish(conn: Connection) -> None:
            self._store_all(conn)
            if change is not None:
                change(conn)
            stages.close_stage(conn, self.run.id, self.iteration, self.name, counts)
            events.append_event(conn, self.run.id, "stage_closed", counts, iteration=self.iteration, stage=self.name)
            reach("stage.close.before_commit")

        self.run.write(finish)
        reach("stage.close.after_commit")
        self.complete = True
        self._stored()
        self._span.counted(counts)
        log.info("the stage is done", extra={"data": counts})
        self.run.listener.closed(self.iteration, self.name, counts)

    def _flush_all(self, conn: Connection) -> None:
        self._store_all(conn)
        reach("stage.flush.before_commit")

    def _keep_all(self, conn: Connection) -> None:
        self._store_all(conn)
        reach("stage.keep.before_commit")

    def _store_all(self, conn: Connection) -> None:
        self.store(conn)
        seconds = time.monotonic() - self._stored_at
        self._metering = self.run.meter.read()
        stages.advance_stage(
            conn,
            self.run.id,
            self.iteration,
            self.name,
            self._done,
            total=self._total,
            seconds=seconds,
            tallies={**self.tallies(), **added_since(self._metered, self._metering)},
        )

    def _stored(self) -> None:
        self.forget()
        self._kept, self._stored_at, self._metered = 0, time.monotonic(), self._metering
