"""A run that this driver holds: every write proves it in its own transaction."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from eva.config import RunConfig
from eva.errors import DiskFullError, LeaseLostError, RunStoppedError, StoreError
from eva.runtime.worker_reports import Meter
from eva.types import Checkpoint
from orchestrator.hold.database_retry import PARTING_S, Patience
from orchestrator.hold.interrupts import shielded
from orchestrator.hold.lease import Lease
from orchestrator.watch.listener import Listener
from orchestrator.watch.tracing import NoSpans, Spans
from store.game import checkpoints
from store.runs import leases, runs
from store.session import Store

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """What the journal and its stages share. `folder` holds checkpoints and jobs; `rewarder` names the rewards."""

    id: int
    name: str
    config: RunConfig
    folder: Path
    rewarder: str
    store: Store
    lease: Lease
    listener: Listener
    spans: Spans = field(default_factory=NoSpans)
    meter: Meter = field(default_factory=Meter)

    @property
    def patience(self) -> Patience:
        """With the database, as long as the lease has it."""
        return Patience(self.store, self.name, self.listener, self.lease.patience_s)

    def read(self, query: Callable[[Connection], T]) -> T:
        """One query in a transaction of its own, asked again while the database is away: it must be safe to repeat."""

        def attempt() -> T:
            with shielded(), self.store.transaction() as conn:
                return query(conn)

        return self.patience.ask(attempt)

    def write(self, change: Callable[[Connection], T]) -> T:
        """One batch in one transaction that checks the fence: made once, though the answer to its commit be lost.

        `change` is rolled back and called again while the database is away, so it leaves nothing behind but its
        result. Raises LeaseLostError, RunStoppedError, and when patience ends StoreAwayError or DiskFullError.
        """
        result, desired = self._written(change)
        self._obey(desired)
        return result

    def tell(self, change: Callable[[Connection], None]) -> None:
        """A write that asks for nothing: how the run goes. Raises as `write` does, but for RunStoppedError."""
        self._written(change)

    def obey(self) -> None:
        """Leave here if the run was asked to stop, or was lost. Raises LeaseLostError, RunStoppedError."""
        if self.lease.lost:
            raise self.lease.lost_error()
        self._obey(self.read(lambda conn: runs.read_desired(conn, self.id)))

    def keep(self, change: Callable[[Connection], None]) -> None:
        """A write on the way out, or on the side: fenced, asking nothing, trying for seconds only.

        One that fails is logged: a resume makes again what it would have kept.
        """
        try:
            self._written(change, total_s=PARTING_S)
        except LeaseLostError:
            return
        except (StoreError, DiskFullError) as error:
            log.warning("something could not be stored: %s", error)
            self.listener.noted(
                f"what this driver had to say could not be stored ({error.given}); "
                f"`eva run --resume {self.name}` goes on from what is there"
            )

    def _written(self, change: Callable[[Connection], T], total_s: float | None = None) -> tuple[T, str]:
        """The change's result, and what the user wants of the run."""
        if self.lease.lost:
            raise self.lease.lost_error()
        made: list[T] = []

        def attempt() -> str:
            with shielded():
                with self.store.transaction() as conn:
                    if self.lease.unsettled:
                        leases.end_own_writes(conn, self.lease.fence)
                    self.lease.unsettled = True
                    if leases.begin_write(conn, self.lease.fence, number, self.lease.ttl_s):
                        made[:] = [change(conn)]
                    desired = runs.read_desired(conn, self.id)
                self.lease.unsettled = False
            return desired

        with self.lease.numbered() as number:
            desired = self.patience.ask(attempt, total_s=total_s)
        return made[0], desired

    def checkpoint(self, number: int) -> Checkpoint | None:
        """The checkpoint with this number, if it is stored."""
        row = self.read(lambda conn: checkpoints.read_checkpoint(conn, self.id, number))
        return None if row is None else Checkpoint(row.number, row.iteration, row.path, row.digest)

    def _obey(self, desired: str) -> None:
        if desired == "cancel":
            raise RunStoppedError(
                f"run {self.name} was cancelled",
                next_move=f"What it finished stays: look at it with `eva show {self.name}`",
            )
        if desired != "run":
            raise RunStoppedError(
                f"run {self.name} was asked to {desired}",
                next_move=f"Nothing was lost: `eva run --resume {self.name}` goes on from here",
            )
