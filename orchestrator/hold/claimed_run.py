"""A run that this driver holds: every write checks the lease in its own transaction."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from eva.config import RunConfig
from eva.errors import CheckpointError, DiskFullError, LeaseLostError, RunStoppedError, StoreError
from eva.runtime.worker_reports import Meter
from eva.solver.manifest import located
from eva.storage.places import run_place
from eva.types import Checkpoint, Player
from orchestrator.hold.database_retry import LAST_WRITE_S, DatabaseRetry
from orchestrator.hold.driver_folder import driver_folder
from orchestrator.hold.interrupts import interrupt_shield
from orchestrator.hold.lease import Lease
from orchestrator.watch.listener import Listener
from orchestrator.watch.tracing import NoSpans, Spans
from store.game import checkpoints
from store.postgres.planner import PlannerStatistics
from store.runs import leases, runs
from store.session import Store

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """What the journal and its stages share.

    `folder` holds the run's files on this machine. `stored_name` is the name of its folder in an object store.
    `rewarder` is the rewards' name.
    """

    id: int
    name: str
    config: RunConfig
    folder: Path
    stored_name: str
    rewarder: str
    store: Store
    lease: Lease
    listener: Listener
    spans: Spans = field(default_factory=NoSpans)
    meter: Meter = field(default_factory=Meter)
    planner: PlannerStatistics = field(default_factory=PlannerStatistics)
    serials: Iterator[int] = field(default_factory=count)
    """Numbers for the files that this driver writes for the run to keep."""

    @property
    def place(self) -> str:
        """Where its checkpoints are published: its folder, or an address in an object store."""
        return run_place(self.config.checkpoints.store, self.folder, self.stored_name)

    @property
    def own_folder(self) -> Path:
        """The folder for files of this driver alone."""
        return driver_folder(self.folder, self.lease.fence.fence)

    @property
    def retry(self) -> DatabaseRetry:
        """Retries transactions for as long as the lease does."""
        return DatabaseRetry(self.store, self.name, self.listener, self.lease.retry_s)

    def read(self, query: Callable[[Connection], T]) -> T:
        """Runs a query in its own transaction, again while the database is away: it must be safe to repeat."""

        def attempt() -> T:
            with interrupt_shield(), self.store.transaction() as conn:
                return query(conn)

        return self.retry.call(attempt)

    def inform_planner(self) -> None:
        """Lets the database plan its queries by how many rows the run has now."""
        self.read(lambda conn: self.planner.inform(conn, self.id))

    def write(self, change: Callable[[Connection], T], hurry: threading.Event | None = None) -> T:
        """Makes a change exactly once, in one transaction that checks the fence, even if the commit's answer is lost.

        While the database is away, `change` is rolled back and called again, so it must have no side effects. Once
        `hurry` is set, it is tried for seconds only. Raises LeaseLostError, RunStoppedError, and StoreAwayError or
        DiskFullError when the time for retries is over.
        """
        result, desired = self._commit(change, hurry=hurry)
        self._obey(desired)
        return result

    def tell(self, change: Callable[[Connection], None]) -> None:
        """Makes a change as `write` does, but never raises RunStoppedError: for the run's own status."""
        self._commit(change)

    def obey(self) -> None:
        """Raises RunStoppedError when the run was asked to stop, LeaseLostError when the lease is lost."""
        if self.lease.lost:
            raise self.lease.lost_error()
        self._obey(self.read(lambda conn: runs.read_desired(conn, self.id)))

    def keep(self, change: Callable[[Connection], None], prepare: Callable[[float], None] | None = None) -> None:
        """Makes a change that may fail, such as the last write of a driver: fenced, and retried for seconds only.

        `prepare` is called before it, with those seconds: without the files that it writes, nothing is stored. A
        failure is logged: a resumed run computes again what was not stored.
        """
        try:
            if prepare is not None:
                prepare(LAST_WRITE_S)
            self._commit(change, total_s=LAST_WRITE_S)
        except LeaseLostError:
            return
        except (StoreError, DiskFullError) as error:
            log.warning("a write was given up: %s", error)
            self.listener.on_message(
                f"the last results of this driver could not be stored ({error.given}); "
                f"`eva run --resume {self.name}` continues from what is stored"
            )

    def _commit(
        self, change: Callable[[Connection], T], total_s: float | None = None, hurry: threading.Event | None = None
    ) -> tuple[T, str]:
        """Returns the change's result and the run's desired state."""
        if self.lease.lost:
            raise self.lease.lost_error()
        results: list[T] = []

        def attempt() -> str:
            with interrupt_shield():
                with self.store.transaction() as conn:
                    if self.lease.unsettled:
                        leases.end_own_writes(conn, self.lease.fence)
                    self.lease.unsettled = True
                    if leases.begin_write(conn, self.lease.fence, number, self.lease.ttl_s):
                        results[:] = [change(conn)]
                    desired = runs.read_desired(conn, self.id)
                self.lease.unsettled = False
            return desired

        with self.lease.write_number() as number:
            desired = replace(self.retry, hurry=hurry).call(attempt, total_s=total_s)
        return results[0], desired

    def checkpoint(self, number: int, player: Player = "solver") -> Checkpoint | None:
        """Returns a player's checkpoint, if it is stored. Raises CheckpointError if its files were pruned."""
        row = self.read(lambda conn: checkpoints.read_checkpoint(conn, self.id, number, player))
        if row is not None and row.pruned_at is not None:
            raise CheckpointError(
                f"checkpoint {number} of the {player} of run {self.name} was pruned: its files are deleted",
                expected="the files of a checkpoint that the run needs",
                next_move="Undo the change of config that needs it, or start a new run",
            )
        if row is None:
            return None
        return Checkpoint(row.number, row.iteration, located(row.path, self.folder.parent), row.digest)

    def creator(self, iteration: int) -> Checkpoint | None:
        """Returns the weights that write an iteration's children, for a creator that has its own: the newest before.

        None before its initial model is adopted. Raises CheckpointError if their files were pruned.
        """
        rows = self.read(lambda conn: checkpoints.read_checkpoints(conn, self.id, "creator"))
        numbers = [row.number for row in rows if row.number <= iteration]
        return self.checkpoint(numbers[-1], "creator") if numbers else None

    def _obey(self, desired: str) -> None:
        if desired == "cancel":
            raise RunStoppedError(
                f"run {self.name} was cancelled",
                next_move=f"Its results are kept: look at them with `eva show {self.name}`",
            )
        if desired != "run":
            raise RunStoppedError(
                f"run {self.name} was asked to {desired}",
                next_move=f"Nothing was lost: continue with `eva run --resume {self.name}`",
            )
