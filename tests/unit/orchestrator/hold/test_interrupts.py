import signal
import threading
from collections.abc import Iterator

import pytest

from orchestrator.hold.interrupts import interrupt_handlers, interrupt_shield


@pytest.fixture
def _terminal() -> Iterator[None]:
    """Lets SIGHUP end the process, as it does on a terminal, even if the tests themselves were started with nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("_terminal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_waits_until_the_transaction_is_over(number: int) -> None:
    done: list[str] = []

    def leave() -> None:
        with interrupt_shield():
            with interrupt_shield():
                signal.raise_signal(number)
                done.append("inside")
            done.append("still inside")
        done.append("never")

    with interrupt_handlers(), pytest.raises(KeyboardInterrupt):
        leave()
    assert done == ["inside", "still inside"]


def test_outside_a_transaction_an_interrupt_is_immediate() -> None:
    with interrupt_handlers(), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)


def test_handlers_are_as_before_afterwards_and_other_threads_change_nothing() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with interrupt_handlers(), interrupt_shield():
        pass
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before

    def elsewhere() -> None:
        with interrupt_handlers(), interrupt_shield():
            pass

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_an_interrupt_arrives_where_the_process_was_started_with_it_blocked() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with interrupt_handlers(), pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()), "as it was before"
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def test_a_driver_that_was_started_with_nohup_survives_its_terminal() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupt_handlers():
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
