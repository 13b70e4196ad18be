"""A database behind sockets that stay open and say nothing: found, given up, asked again."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from eva.errors import StoreAwayError
from store.postgres.embedded import EmbeddedServer
from store.session import Store
from tests.support.faults.proxy import Proxy
from tests.support.faults.undisturbed import Disturbed, require_undisturbed


def impatient(proxy: Proxy, store: Store) -> Store:
    """The same database through a proxy; 2 s is the least that a connection's time-out can be."""
    return Store(store.engine.url.set(host=None, query=proxy.query), silent_s=0.3, connect_s=2)


def test_a_run_whose_database_says_nothing_any_more_goes_on_when_it_speaks_again(
    store: Store, postgres: EmbeddedServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    game, ended = Disturbed(store, tmp_path), threading.Event()

    with Proxy(postgres.socket_dir, None) as proxy:

        def speak_again() -> None:
            # it was asked whether it is there, and the write was tried once more
            while proxy.unanswered < 2 and not ended.wait(0.05):
                pass
            proxy.silent = False

        def fall_silent(iteration: int, stage: str) -> None:
            if (iteration, stage) == (1, "judge_pool"):
                proxy.silent = True
                threading.Thread(target=speak_again).start()

        game.heard.on_close = fall_silent
        away = impatient(proxy, store)
        try:
            game.drive(through=away, ttl_s=30.0)
        finally:
            ended.set()
            away.close()
        assert proxy.unanswered >= 2
    assert "the database has not answered" in caplog.text
    require_undisturbed(game, tmp_path)


def test_a_statement_that_takes_long_is_left_alone_while_the_server_answers_others(
    store: Store, postgres: EmbeddedServer
) -> None:
    with Proxy(postgres.socket_dir, None) as proxy:
        away = impatient(proxy, store)
        with away.transaction() as conn:
            assert conn.execute(text("SELECT 7 FROM pg_sleep(1)")).scalar_one() == 7
        away.close()


def test_a_server_that_answers_no_connection_is_away(store: Store, postgres: EmbeddedServer) -> None:
    with Proxy(postgres.socket_dir, None) as proxy:
        proxy.silent = True
        away = impatient(proxy, store)
        with pytest.raises(StoreAwayError, match="timeout"), away.transaction():
            pass
        away.close()
