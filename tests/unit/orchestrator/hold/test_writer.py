from __future__ import annotations

import threading
from typing import cast

import pytest

from eva.errors import DiskFullError, RunStoppedError, StoreAwayError
from orchestrator.hold.database_retry import LAST_WRITE_S, DatabaseRetry
from orchestrator.hold.writer import BatchWriter
from orchestrator.watch.listener import NoListener
from store.session import Store

WAIT_S = 10.0


class HeldWrite:
    """A write that waits until it may end, or is told to hurry."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.begun, self.may_end, self.error = threading.Event(), threading.Event(), error
        self.hurried = False

    def __call__(self, hurry: threading.Event) -> None:
        self.begun.set()
        while not self.may_end.wait(0.001):
            if hurry.is_set():
                self.hurried = True
                break
        if self.error is not None:
            raise self.error


def test_the_stage_goes_on_while_a_batch_is_stored() -> None:
    writer, write = BatchWriter("test"), HeldWrite()
    writer.put(write)
    assert write.begun.wait(WAIT_S) and writer.busy
    write.may_end.set()
    writer.drain()
    assert not writer.busy and writer.end() is None


@pytest.mark.parametrize("error", [DiskFullError("the disk is full"), RunStoppedError("run x was asked to pause")])
def test_what_a_write_raises_is_raised_once_at_the_stages_next_call(error: Exception) -> None:
    writer, write = BatchWriter("test"), HeldWrite(error)
    write.may_end.set()
    writer.put(write)
    with pytest.raises(type(error)):
        writer.drain()
    assert not writer.busy and writer.end() is None


def test_a_stage_that_ends_early_hurries_its_write_and_learns_of_its_error() -> None:
    error = DiskFullError("the disk is full")
    writer, write = BatchWriter("test"), HeldWrite(error)
    writer.put(write)
    assert write.begun.wait(WAIT_S)
    assert writer.end() is error and write.hurried


def test_a_stage_that_stores_nothing_starts_no_thread() -> None:
    before = threading.active_count()
    writer = BatchWriter("test")
    assert not writer.busy and threading.active_count() == before and writer.end() is None


def test_retries_end_seconds_after_they_were_told_to_hurry() -> None:
    now, hurry = [0.0], threading.Event()

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if now[0] > 30:
            hurry.set()

    def away() -> None:
        raise StoreAwayError("the database does not answer")

    retry = DatabaseRetry(cast(Store, FakeStore()), "run", NoListener(), 600.0, lambda: now[0], sleep, hurry)
    with pytest.raises(StoreAwayError, match="tried again"):
        retry.call(away)
    assert 30 < now[0] < 30 + LAST_WRITE_S + 4


class FakeStore:
    def revive(self) -> None:
        """There is nothing to start."""
