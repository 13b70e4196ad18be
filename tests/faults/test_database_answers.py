"""Commits whose answers are lost, connections that end, conflicts, and a server that is not ready yet."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url, text

from eva.errors import RunStoppedError, StoreAwayError
from orchestrator.hold import database_retry
from orchestrator.hold.database_retry import DatabaseRetry
from orchestrator.launch.resume import prepare
from orchestrator.watch.listener import NoListener
from store.postgres.embedded import EmbeddedServer
from store.runs import runs
from store.session import Store
from tests.support.drive_on_fakes import SlowGenerator
from tests.support.fakes import Recorder, fake_roles
from tests.support.faults.proxy import Proxy
from tests.support.faults.undisturbed import Disturbed, require_undisturbed


@pytest.fixture
def game(store: Store, tmp_path: Path) -> Disturbed:
    return Disturbed(store, tmp_path)


def through(proxy: Proxy, store: Store) -> Store:
    return Store(store.engine.url.set(query=proxy.query))


@pytest.fixture
def socket_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s")


def test_commits_whose_answers_are_lost_are_made_once(
    game: Disturbed, postgres: EmbeddedServer, socket_folder: Path, tmp_path: Path
) -> None:
    with Proxy(postgres.socket_dir, socket_folder, lambda commit: commit % 4 == 1) as proxy:
        away = through(proxy, game.store)
        game.drive(through=away)
        away.close()
    assert proxy.lost > 20
    require_undisturbed(game, tmp_path)


def test_serialization_failures_and_deadlocks_are_tried_again(game: Disturbed, tmp_path: Path) -> None:
    """Every third write fails at its first statement, every fifth commit at its very end."""
    with game.store.transaction() as conn:
        for statement in CONFLICTS:
            conn.execute(text(statement))
    game.drive()
    with game.store.transaction() as conn:
        assert conn.execute(text("SELECT last_value FROM tries")).scalar_one() > 60
    require_undisturbed(game, tmp_path)


CONFLICTS = (
    "CREATE SEQUENCE tries",
    """CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE state text := CASE WHEN TG_NAME = 'early' THEN '40P01' ELSE '40001' END;
    BEGIN
        IF NEW.writes > OLD.writes AND nextval('tries') % TG_ARGV[0]::int = 0 THEN
            RAISE EXCEPTION 'made on purpose' USING ERRCODE = state;
        END IF;
        RETURN NEW;
    END $$""",
    "CREATE TRIGGER early BEFORE UPDATE ON leases FOR EACH ROW EXECUTE FUNCTION conflict(3)",
    """CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON leases DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION conflict(5)""",
)


@contextmanager
def terminating(database_url: str) -> Iterator[list[int]]:
    """Ends the test database's other backends, at random, again and again; the list counts them."""
    stop, counted = threading.Event(), list[int]()

    def end() -> None:
        with psycopg.connect(database_url, autocommit=True) as conn:
            while not stop.wait(0.03):
                row = conn.execute(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < 0.5"
                ).fetchone()
                counted.append(row[0] if row else 0)

    thread = threading.Thread(target=end)
    thread.start()
    try:
        yield counted
    finally:
        stop.set()
        thread.join()


def test_backends_that_are_ended_in_the_middle_of_anything_change_nothing(
    game: Disturbed, database_url: str, tmp_path: Path
) -> None:
    with terminating(database_url) as terminated:
        game.drive(fake_roles(generator=SlowGenerator()))
    assert sum(terminated) >= 5, "it was hardly disturbed"
    require_undisturbed(game, tmp_path)


@pytest.mark.parametrize(
    "refusal",
    ["the database system is starting up", "sorry, too many clients already", "the database system is shutting down"],
)
def test_a_server_that_is_not_ready_is_waited_for_and_both_are_told(
    game: Disturbed, postgres: EmbeddedServer, socket_folder: Path, refusal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_retry, "_TELL_AFTER_S", 0.0)
    heard = Recorder()
    with Proxy(postgres.socket_dir, socket_folder) as proxy:
        away = through(proxy, game.store)
        proxy.refuses = refusal
        tries: list[float] = []

        def pause(seconds: float) -> None:
            tries.append(seconds)
            proxy.refuses = refusal if len(tries) < 6 else ""

        def desired() -> str:
            with away.transaction() as conn:
                return runs.read_desired(conn, game.run.id)

        assert DatabaseRetry(away, "demo-1", heard, sleep=pause).call(desired) == "run"
        away.close()
    assert len(tries) == 6 and tries[5] > tries[0], "pauses grow"
    first, last = heard.notes
    assert "has been away" in first and refusal in first and "accepts writes again" in last


def test_a_long_wait_for_a_single_try_is_told_afterwards(store: Store) -> None:
    now, heard = [0.0], Recorder()

    def pause(seconds: float) -> None:
        now[0] += 6.0

    def ask() -> str:
        if not now[0]:
            raise StoreAwayError("the database failed")
        return "answer"

    assert DatabaseRetry(store, "demo-1", heard, clock=lambda: now[0], sleep=pause).call(ask) == "answer"
    assert heard.notes == ["the database did not answer for 6 s; the run goes on"]


def test_retries_end_with_a_message_that_says_how_to_go_on(tmp_path: Path) -> None:
    now = [0.0]

    def pause(seconds: float) -> None:
        now[0] += seconds

    nowhere = Store(make_url(f"postgresql+psycopg://nobody@/none?host={tmp_path}"))

    def ask() -> None:
        with nowhere.transaction():
            pass

    with pytest.raises(StoreAwayError, match=r"tried again \d+ times in .*`eva run --resume demo-1`"):
        DatabaseRetry(nowhere, "demo-1", NoListener(), total_s=60.0, clock=lambda: now[0], sleep=pause).call(ask)
    assert 50 < now[0] < 60


def test_a_wish_to_pause_is_obeyed_though_the_answer_to_the_write_was_lost(
    game: Disturbed, postgres: EmbeddedServer, socket_folder: Path, tmp_path: Path
) -> None:
    def wish(iteration: int, stage: str) -> None:
        with game.store.transaction() as conn:
            runs.set_desired(conn, game.run.id, "pause")

    game.heard.on_close = wish
    with Proxy(postgres.socket_dir, socket_folder, lambda commit: commit % 2 == 0) as proxy:
        away = through(proxy, game.store)
        with pytest.raises(RunStoppedError, match="asked to pause"):
            game.drive(through=away)
        away.close()
    assert game.row().status == "paused"
    game.heard.on_close = lambda iteration, stage: None
    prepare(game.store, game.row())
    game.drive()
    require_undisturbed(game, tmp_path)
