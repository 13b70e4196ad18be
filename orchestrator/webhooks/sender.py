"""Sends the messages of webhooks: what is due, and again what no receiver has accepted yet.

Of all services on a database one is the sender. Whatever ends it, the next one goes on: a delivery waits in the
database until its receiver has accepted it, so a receiver may get one twice, with the same id.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from eva.errors import EvaError
from eva.webhooks.addresses import Network
from eva.webhooks.messages import body_of, with_outcome
from eva.webhooks.signature import signed_headers
from orchestrator.webhooks.checked_post import WHOLE_S, ReceiverError, checked_post
from store.runs.leader_lock import SENDER, leader_lock
from store.session import Store
from store.views.run_lists.outcomes import SetOutcome, run_outcome
from store.webhooks import deliveries
from store.webhooks.deliveries import DueDelivery, State

TICK_S, AWAY_S, TIDY_S = 1.0, 10.0, 600.0
AT_A_TIME = 8
FIRST_PAUSE_S, LONGEST_PAUSE_S = 10.0, 3600.0
GIVE_UP_S = 24 * 3600.0
"""A delivery is given up when its next attempt would be later than this after its event."""
_GONE = 410

Post = Callable[[str, bytes, Mapping[str, str], Sequence[Network]], int]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Result:
    status: int | None
    error: str | None


class Sender:
    """Sends what is due. `networks` may be reached although they are not public; `post` sends one request."""

    def __init__(self, store: Store, networks: Sequence[Network], post: Post = checked_post) -> None:
        self._store, self._networks, self._post = store, networks, post
        self._tidied_at = -TIDY_S

    def tick(self) -> int:
        """Makes one attempt at the oldest due delivery of each webhook. Returns how many there were."""
        if time.monotonic() - self._tidied_at >= TIDY_S:
            with self._store.transaction() as conn:
                deliveries.delete_old(conn)
            self._tidied_at = time.monotonic()
        with self._store.transaction() as conn:
            due = deliveries.due_deliveries(conn)
        if due:
            with ThreadPoolExecutor(min(AT_A_TIME, len(due)), thread_name_prefix="webhook") as pool:
                # bounded: by the limits of checked_post and of name resolution
                for _ in pool.map(self._attempt, due):
                    pass
        return len(due)

    def _attempt(self, delivery: DueDelivery) -> None:
        result = self._send(delivery)
        accepted = result.status is not None and 200 <= result.status < 300
        pause_s = min(FIRST_PAUSE_S * 4.0**delivery.attempts, LONGEST_PAUSE_S)
        over = result.status == _GONE or delivery.age_s + pause_s > GIVE_UP_S
        state: State = "delivered" if accepted else "given_up" if over else "waiting"
        if not accepted:
            then = "it is given up" if over else f"it is tried again in {pause_s:.0f} s"
            text = f"webhook {delivery.webhook} was not told of {delivery.topic}: {result.error}; {then}"
            log.log(logging.WARNING if over else logging.INFO, "%s", text)
        with self._store.transaction() as conn:
            deliveries.record_attempt(conn, delivery, state, status=result.status, error=result.error, pause_s=pause_s)

    def _send(self, delivery: DueDelivery) -> _Result:
        message = delivery.message
        if delivery.topic == "finished" and delivery.run_id is not None:
            with self._store.transaction() as conn:
                message = with_outcome(message, _outcome(run_outcome(conn, delivery.run_id)))
        body = body_of(message, delivery.form)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "eva",
            **signed_headers(delivery.secret, delivery.id, int(time.time()), body),
        }
        try:
            status = self._post(delivery.url, body, headers, self._networks)
        except ReceiverError as error:
            return _Result(None, str(error))
        if 200 <= status < 300:
            return _Result(status, None)
        return _Result(status, f"it answered with status {status}" + (", a redirect" if 300 <= status < 400 else ""))


def _outcome(sets: Sequence[SetOutcome]) -> list[tuple[str, float, float | None]]:
    return [(row.split, row.first.success, None if row.newest is None else row.newest.success) for row in sets]


@contextmanager
def sending(
    store: Store, networks: Sequence[Network], tick_s: float = TICK_S, post: Post = checked_post
) -> Generator[None]:
    """Sends in the meantime, while this service is the sender.

    A thread of its own does it, so that a slow receiver delays no launch.

    What is being sent when the process ends is sent again by the next service.
    """
    ended = threading.Event()
    sender = Sender(store, networks, post)
    loop = threading.Thread(target=_send_until, args=(ended, store, sender, tick_s), name="webhooks", daemon=True)
    loop.start()
    try:
        yield
    finally:
        ended.set()
        loop.join(WHOLE_S + 1)


def _send_until(ended: threading.Event, store: Store, sender: Sender, tick_s: float) -> None:
    pause_s = 0.0
    with leader_lock(store, SENDER) as leads:
        while not ended.wait(pause_s):
            pause_s = tick_s
            try:
                if leads() and sender.tick():
                    pause_s = 0.0
            except EvaError as error:
                log.warning("webhooks wait: %s", error)
                pause_s = AWAY_S
            except Exception:  # if the sender ended silently, nobody would be told anything any more
                log.exception("the sender of webhooks failed unexpectedly and will try again")
                pause_s = AWAY_S
