"""The lease: which driver may write to a run, renewed in the background while it plays."""

from __future__ import annotations

import _thread
import os
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from eva.errors import LeaseLostError, LeaseTakenError, StoreError
from eva.failpoints import reach
from store import leases
from store.leases import Fence
from store.runs import RunRow
from store.session import Store

TTL_S = 30.0


def this_process() -> dict[str, Any]:
    """Names this process so that another on the same machine can tell whether it still lives."""
    return {"host": socket.gethostname(), "boot": _boot_id(), "pid": os.getpid(), "started": _started(os.getpid())}


def is_dead(owner: Mapping[str, Any]) -> bool:
    """True only if the owner was a process of this machine, since it booted, and is gone for certain."""
    here = owner.get("host") == socket.gethostname() and owner.get("boot") == _boot_id() != ""
    return here and _started(int(owner["pid"])) != owner.get("started")


class Lease:
    """A claimed run. Renews itself on a thread; when it cannot, it interrupts the main thread before the lease ends."""

    def __init__(self, store: Store, fence: Fence, ttl_s: float = TTL_S) -> None:
        self.fence = fence
        self._store, self._ttl_s = store, ttl_s
        self._ended = threading.Event()
        self.lost = False
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._ended.set()
        self._thread.join()
        if not self.lost:
            with self._store.transaction() as conn:
                leases.release(conn, self.fence)
                reach("lease.release.before_commit")
            reach("lease.release.after_commit")

    def _renew(self) -> None:
        safe_until = time.monotonic() + self._ttl_s * 2 / 3
        while not self._ended.wait(self._ttl_s / 6):
            asked = time.monotonic()
            try:
                with self._store.transaction() as conn:
                    renewed = leases.renew(conn, self.fence, self._ttl_s)
            except StoreError:
                renewed = asked < safe_until
            else:
                safe_until = asked + self._ttl_s * 2 / 3
                reach("lease.renewed")
            if not renewed:
                self.lost = True
                _thread.interrupt_main()
                return

    def lost_error(self) -> LeaseLostError:
        return LeaseLostError(
            "this driver lost its lease on the run (another one took over, or the database was away)",
            next_move="Nothing was lost: look at the run with `eva runs`, resume it if it is not running")


def claim(store: Store, run: RunRow, ttl_s: float = TTL_S) -> Lease:
    """Claim a run for this process. A dead process of this machine is relieved at once.

    Raises LeaseTakenError that says who holds it.
    """
    me = this_process()
    with store.transaction() as conn:
        fence = leases.claim(conn, run.id, me, ttl_s)
        holder = None if fence else leases.holder(conn, run.id)
        if holder is not None and holder.owner is not None and is_dead(holder.owner):
            fence = leases.claim(conn, run.id, me, ttl_s, break_owner=dict(holder.owner))
        reach("lease.claim.before_commit")
    reach("lease.claim.after_commit")
    if fence is None:
        owner = (holder.owner if holder else None) or {}
        raise LeaseTakenError(
            f"run {run.name} is being played by process {owner.get('pid')} on {owner.get('host')}",
            expected="a run that no driver holds",
            next_move=f"Watch it with `eva show {run.name}`; if that process is gone, try again in {ttl_s:.0f} s")
    return Lease(store, fence, ttl_s)


def _boot_id() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""


def _started(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot, None when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])
