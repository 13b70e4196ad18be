"""The lease of a run: it decides which driver may write, and is renewed in the background while the run plays."""

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
from orchestrator.hold.database_retry import RETRY_S, DatabaseRetry
from orchestrator.hold.interrupts import interrupt_shield
from orchestrator.watch.listener import NoListener
from store.rows import Fence, JsonObject, LeaseRow
from store.runs import leases
from store.runs.runs import RunRow
from store.session import Store

TTL_S = 30.0

log = logging.getLogger(__name__)


class Lease:
    """A claim on a run. A thread renews it, and interrupts the main thread when another driver has taken the run over.

    While the database is away, no other driver can claim the run either. The lease is renewed when the database is
    back, and every write checks it anyway. After `retry_s` without an answer the main thread is interrupted, too.
    """

    def __init__(self, store: Store, fence: Fence, ttl_s: float = TTL_S, retry_s: float = RETRY_S) -> None:
        self.fence, self.ttl_s = fence, ttl_s
        self._store, self.retry_s = store, retry_s
        self._ended, self._writing, self._numbers = threading.Event(), threading.Lock(), itertools.count(1)
        self._lost: str | None = None
        self._main = False
        self.unsettled = False
        """Whether a write was begun whose outcome is unknown."""
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
            with interrupt_shield():
                self._end()
        except KeyboardInterrupt:
            if not self.lost:
                raise
        # The thread's signal may arrive while a refused write raises, and replace that error.
        if self.lost and isinstance(error, KeyboardInterrupt):
            raise self.lost_error() from None

    def _end(self) -> None:
        self._ended.set()
        self._thread.join()  # bounded: by the query that the thread is in
        if self.lost:
            return
        try:
            with self._store.transaction() as conn:
                leases.release(conn, self.fence)
                reach("lease.release.before_commit")
            reach("lease.release.after_commit")
        except (StoreError, DiskFullError) as failure:
            # It expires by itself, and this process is known to be dead before that.
            log.warning("the lease could not be released: %s", failure)

    @contextmanager
    def write_number(self) -> Generator[int]:
        """Yields the number of the next write. Other writes wait, so that numbers are committed in order."""
        with self._writing:
            yield next(self._numbers)

    def _renew(self) -> None:
        renewed_at, pause_s = time.monotonic(), self.ttl_s / 6
        while not self._ended.wait(pause_s):
            tried_at = time.monotonic()
            try:
                with self._store.transaction() as conn:
                    renewed = leases.renew(conn, self.fence, self.ttl_s)
            except (StoreError, DiskFullError) as error:
                log.info("the lease was not renewed: %s", error)
                if tried_at - renewed_at > self.retry_s + self.ttl_s:
                    self._lose(f"the database was away for {tried_at - renewed_at:.0f} s")
                    return
                pause_s = min(1.0, self.ttl_s / 6)
            else:
                if not renewed:
                    self._lose("another driver has taken it over")
                    return
                renewed_at, pause_s = tried_at, self.ttl_s / 6
                reach("lease.renewed")

    def _lose(self, why: str) -> None:
        self._lost = why
        if self._main:
            # A signal reaches the main thread in the middle of a wait; other threads find out at their next write.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def lost_error(self) -> LeaseLostError:
        return LeaseLostError(
            f"this driver no longer holds its run: {self._lost}",
            next_move="Nothing was lost: look at the run with `eva runs`, and resume it if it is not running",
        )


def end_dead_leases(store: Store) -> None:
    """Ends the leases of dead processes of this machine, and leases that a clock which was set back has made longer.

    Claims do this for one run. For commands that show runs, a run that nobody plays should look like one.
    """
    with store.transaction() as conn:
        leases.shorten(conn, TTL_S)
        for held in leases.read_held(conn):
            if held.owner is not None and is_dead(held.owner):
                leases.expire(conn, Fence(held.run_id, held.fence))


def claim(
    store: Store,
    run: RunRow,
    ttl_s: float = TTL_S,
    retry: DatabaseRetry | None = None,
    *,
    take_from: JsonObject | None = None,
) -> Lease:
    """Claims a run for this process, at once if its holder is a dead process of this machine.

    `take_from`: the owner from whom the run is taken although it may live; what it is writing is ended, and it writes
    nothing more. Raises LeaseTakenError, which says who holds it.
    """
    retry = retry or DatabaseRetry(store, run.name, NoListener())
    # The token tells this claim from others of this process, so that it is found again if its answer is lost.
    me = this_process() | {"claim": secrets.token_hex(8)}

    def attempt() -> tuple[Fence | None, LeaseRow | None]:
        with store.transaction() as conn:
            holder = leases.read_lease(conn, run.id) if take_from else None
            if holder is not None and holder.owner == take_from and take_from is not None:
                # does not wait for what the holder is writing
                return leases.claim(conn, run.id, me, ttl_s, break_owner=take_from, end_writes=True), holder
            fence = leases.claim(conn, run.id, me, ttl_s, break_owner=me)
            holder = None if fence else leases.read_lease(conn, run.id)
            if holder is not None and holder.owner and is_dead(holder.owner):
                fence = leases.claim(conn, run.id, me, ttl_s, break_owner=dict(holder.owner))
            if fence is None:
                leases.shorten(conn, max(ttl_s, TTL_S), run.id)
            reach("lease.claim.before_commit")
            return fence, holder

    fence, holder = retry.call(attempt)
    reach("lease.claim.after_commit")
    if fence is None:
        owner = (holder.owner if holder else None) or {}
        raise LeaseTakenError(
            f"run {run.name} is being played by process {owner.get('pid')} on {owner.get('host')}",
            expected="a run that no driver holds",
            next_move=f"Watch it with `eva show {run.name}`; if that process is gone, try again in {ttl_s:.0f} s",
        )
    return Lease(store, fence, ttl_s, retry.total_s)
