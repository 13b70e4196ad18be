"""A server of its own that is restarted, killed and kept away under a run."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from eva.errors import StoreAwayError
from eva.settings import Settings
from orchestrator.hold import database_retry
from store.postgres.embedded import EmbeddedServer
from store.postgres.postmaster import pid_file
from store.postgres.programs import Programs, ServerUser
from store.session import Store, open_store
from tests.support.drive_on_fakes import SlowGenerator
from tests.support.fakes import fake_roles
from tests.support.faults.undisturbed import Disturbed, require_undisturbed


@pytest.fixture
def own_store(data_folder: Path) -> Iterator[Store]:
    """The embedded database of a data directory of its own, as `eva run` opens it."""
    opened = open_store(Settings(data_folder, None, None))
    yield opened
    opened.close()


def restart(folder: Path) -> None:
    """As an administrator would; holding the lock, lest the driver starts a server in between."""
    server = folder / "postgres"
    with (folder / "postgres.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        Programs(ServerUser.for_folder(server), folder).run(
            "pg_ctl", server, "-s", "-w", "-m", "immediate", "-l", "server.log", "restart"
        )


def kill(folder: Path) -> None:
    """kill -9 of the server: nobody but the driver starts another."""
    lines = pid_file(folder / "postgres")
    # one that still recovers is left alone: where machines are slow, it would never be done
    if lines is not None and len(lines) >= 8 and lines[7].strip() == "ready":
        with suppress(ProcessLookupError):
            os.kill(abs(int(lines[0])), signal.SIGKILL)


@pytest.mark.parametrize("disturb", [restart, kill])
def test_a_server_that_goes_away_again_and_again_changes_nothing(
    own_store: Store, data_folder: Path, disturb: Callable[[Path], None]
) -> None:
    game, stop, times = Disturbed(own_store, data_folder), threading.Event(), list[int]()

    def again() -> None:
        while not stop.wait(1.0):
            disturb(data_folder)
            times.append(len(times))

    thread = threading.Thread(target=again)
    thread.start()
    try:
        game.drive(fake_roles(generator=SlowGenerator()), ttl_s=4.0)
    finally:
        stop.set()
        thread.join()
    own_store.revive()
    assert len(times) >= 2
    retry = database_retry.DatabaseRetry(own_store, game.run.name, game.heard)
    retry.call(lambda: require_undisturbed(game, data_folder))


def test_a_run_whose_database_stays_away_leaves_with_a_message_and_is_resumed(
    own_store: Store, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    game = Disturbed(own_store, data_folder)
    monkeypatch.setattr(database_retry, "_TELL_AFTER_S", 0.1)
    monkeypatch.setattr("orchestrator.hold.claimed_run.LAST_WRITE_S", 0.1)

    def away(iteration: int, stage: str) -> None:
        if (iteration, stage) == (1, "judge_pool"):
            kill(data_folder)

    game.heard.on_close = away
    # the same database by its address, as one of the user's own: nobody here can start it
    remote = Store(own_store.engine.url)
    with pytest.raises(StoreAwayError, match=rf"`eva run --resume {game.run.name}`"):
        game.drive(through=remote, retry_s=2.0, ttl_s=2.0)
    remote.close()
    told, *_, last = game.heard.notes
    assert "trying again for up to 2 s" in told and "could not be stored" in last and told != last
    own_store.revive()
    row = database_retry.DatabaseRetry(own_store, game.run.name, game.heard).call(game.row)
    assert (row.status, row.iteration) == ("running", 1), "it could tell nobody: `eva runs` shows it as interrupted"
    game.heard.on_close = lambda iteration, stage: None
    game.take_over()
    require_undisturbed(game, data_folder)


def test_a_server_that_is_there_is_left_alone(own_store: Store, data_folder: Path) -> None:
    before = pid_file(data_folder / "postgres")
    own_store.revive()
    assert pid_file(data_folder / "postgres") == before


def test_the_last_user_stops_a_server_that_was_revived(data_folder: Path) -> None:
    server = EmbeddedServer(data_folder / "postgres")
    kill(data_folder)
    while (lines := pid_file(server.folder)) is not None and Path(f"/proc/{abs(int(lines[0]))}").exists():
        pass
    server.revive()
    server.close()
    assert pid_file(server.folder) is None
