"""The lease: which driver may write to a run, renewed in the background while it plays."""

from __future__ import annotations

import itertools
import logging
import secrets
import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from eva.errors import DiskFullError, LeaseLostError, LeaseTakenError, StoreError
from eva.runtime.failpoints import reach
from eva.runtime.processes import is_dead, this_process
from orchestrator.hold.database_retry import PATIENCE_S, Patience
from orchestrator.hold.interrupts import shielded
from orchestrator.watch.listener import Nobody
from store.rows import Fence, LeaseRow
from store.runs import leases
from store.runs.runs import RunRow
from store.session import Store

TTL_S = 30.0

log = logging.getLogger(__name__)


class Lease:
    """A claimed run. Renews itself on a thread, which interrupts the main thread when another driver has the run.

    While the database is away nobody else can claim the run either: the lease is renewed when it is back, and every
    write proves itself anyway. Beyond `patience_s` of silence the main thread is interrupted, too.
    """

    def __init__(self, store: Store, fence: Fence, ttl_s: float = TTL_S, patience_s: float = PATIENCE_S) -> None:
        self.fence, self.ttl_s = fence, ttl_s
        self._store, self.patience_s = store, patience_s
        self._ended, self._writing, self._numbers = threading.Event(), threading.Lock(), itertools.count(1)
        self._lost: str | None = None
        self._main = False
        self.unsettled = False
        """Whether a write was begun of which nobody knows how it ended."""
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    @property
    def lost(self) -> bool:
        return self._lost is not None

    def __enter__(self) -> Self:
        self._main = threading.current_thread() is threading.main_thread()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with shielded():
                self._end()
        except KeyboardInterrupt:
            if not self.lost:
                raise
        # The thread's signal may come beside the refusal of a write, and take that error's place on the way out.
        if self.lost and isinstance(error, KeyboardInterrupt):
            raise self.lost_error() from None

    def _end(self) -> None:
        self._ended.set()
        self._thread.join()  # bounded: by the query that it is in
        if self.lost:
            return
        try:
            with self._store.transaction() as conn:
                leases.release(conn, self.fence)
                reach("lease.release.before_commit")
            reach("lease.release.after_commit")
        except (StoreError, DiskFullError) as failure:
            # it ends by itself, and this process is known to be dead before that
            log.warning("the lease could not be given back: %s", failure)

    @contextmanager
    def numbered(self) -> Generator[int]:
        """The number of the next write; the others wait meanwhile, so that numbers are committed in order."""
        with self._writing:
            yield next(self._numbers)

    def _renew(self) -> None:
        answered, pause_s = time.monotonic(), self.ttl_s / 6
        while not self._ended.wait(pause_s):
            asked = time.monotonic()
            try:
                with self._store.transaction() as conn:
                    renewed = leases.renew(conn, self.fence, self.ttl_s)
            except (StoreError, DiskFullError) as error:
                log.info("the lease was not renewed: %s", error)
                if asked - answered > self.patience_s + self.ttl_s:
                    self._lose(f"the database was away for {asked - answered:.0f} s")
                    return
                pause_s = min(1.0, self.ttl_s / 6)
            else:
                if not renewed:
                    self._lose("another driver has taken it over")
                    return
                answered, pause_s = asked, self.ttl_s / 6
                reach("lease.renewed")

    def _lose(self, why: str) -> None:
        self._lost = why
        if self._main:
            # a signal reaches the main thread in the middle of a wait; on other threads the next write tells
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def lost_error(self) -> LeaseLostError:
        return LeaseLostError(
            f"this driver no longer holds its run: {self._lost}",
            next_move="Nothing was lost: look at the run with `eva runs`, resume it if it is not running",
        )


def claim(store: Store, run: RunRow, ttl_s: float = TTL_S, patience: Patience | None = None) -> Lease:
    """Claim a run for this process. A dead process of this machine is relieved at once.

    Raises LeaseTakenError that says who holds it.
    """
    patience = patience or Patience(store, run.name, Nobody())
    # one claim, told from others of this process: if its answer is lost, it is found again
    me = this_process() | {"claim": secrets.token_hex(8)}

    def attempt() -> tuple[Fence | None, LeaseRow | None]:
        with store.transaction() as conn:
            fence = leases.claim(conn, run.id, me, ttl_s, break_owner=me)
            holder = None if fence else leases.read_lease(conn, run.id)
            if holder is not None and holder.owner is not None and is_dead(holder.owner):
                fence = leases.claim(conn, run.id, me, ttl_s, break_owner=dict(holder.owner))
            reach("lease.claim.before_commit")
            return fence, holder

    fence, holder = patience.ask(attempt)
    reach("lease.claim.after_commit")
    if fence is None:
        owner = (holder.owner if holder else None) or {}
        raise LeaseTakenError(
            f"run {run.name} is being played by process {owner.get('pid')} on {owner.get('host')}",
            expected="a run that no driver holds",
            next_move=f"Watch it with `eva show {run.name}`; if that process is gone, try again in {ttl_s:.0f} s",
        )
    return Lease(store, fence, ttl_s, patience.total_s)
