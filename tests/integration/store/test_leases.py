"""Leases: who may write to a run, and until when."""

from __future__ import annotations

import time
from threading import Barrier, Event, Thread

import pytest
from sqlalchemy import Connection, NullPool, create_engine, event, make_url, text

from eva.errors import LeaseLostError, StoreAwayError
from store.rows import Fence, RunRow
from store.runs import leases, runs
from store.session import Store

ANNA, BERT = {"host": "a", "pid": 1}, {"host": "b", "pid": 2}


def _run(conn: Connection) -> RunRow:
    return runs.create_run(conn, stem="demo", config={}, config_hash="h", seed=7)


def test_a_held_run_is_not_given_to_another(store: Store) -> None:
    with store.transaction() as conn:
        run = _run(conn)
        assert leases.claim(conn, run.id, ANNA, 60) == Fence(run.id, 1)
        assert leases.claim(conn, run.id, BERT, 60) is None
        holder = leases.read_lease(conn, run.id)
        assert holder is not None and holder.owner == ANNA and not holder.expired


def test_a_released_run_is_given_with_a_higher_fence(store: Store) -> None:
    with store.transaction() as conn:
        run = _run(conn)
        first = leases.claim(conn, run.id, ANNA, 60)
        assert first is not None
        leases.release(conn, first)
        assert leases.claim(conn, run.id, BERT, 60) == Fence(run.id, 2)
        leases.release(conn, first)
        holder = leases.read_lease(conn, run.id)
        assert holder is not None and holder.owner == BERT


def test_a_dead_owner_is_broken_only_by_its_exact_name(store: Store) -> None:
    with store.transaction() as conn:
        run = _run(conn)
        leases.claim(conn, run.id, ANNA, 60)
        assert leases.claim(conn, run.id, BERT, 60, break_owner={"host": "a", "pid": 9}) is None
        assert leases.claim(conn, run.id, BERT, 60, break_owner={"pid": 1, "host": "a"}) == Fence(run.id, 2)


def test_of_two_who_claim_at_once_one_wins(store: Store) -> None:
    with store.transaction() as conn:
        run = _run(conn)
    barrier, won = Barrier(6), list[Fence | None]()

    def race(number: int) -> None:
        barrier.wait()
        with store.transaction() as conn:
            won.append(leases.claim(conn, run.id, {"pid": number}, 60))

    threads = [Thread(target=race, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won, key=str) == [Fence(run.id, 1), None, None, None, None, None]


def _expire(store: Store, run_id: int) -> None:
    with store.transaction() as conn:
        conn.execute(
            text("UPDATE leases SET expires_at = clock_timestamp() - interval '1 s' WHERE run_id = :id"),
            {"id": run_id},
        )


def _expire_by_waiting(store: Store, run_id: int) -> None:
    with store.transaction() as conn:
        while (row := leases.read_lease(conn, run_id)) is not None and not row.expired:
            time.sleep(0.01)


def test_an_expired_lease_is_taken_over_and_the_old_fence_writes_nothing(store: Store) -> None:
    with store.transaction() as conn:
        run = _run(conn)
        old = leases.claim(conn, run.id, ANNA, 60)
    assert old is not None
    _expire(store, run.id)
    with store.transaction() as conn:
        new = leases.claim(conn, run.id, BERT, 60)
        assert new == Fence(run.id, 2)
        assert leases.renew(conn, old, 60) is False
    with pytest.raises(LeaseLostError, match="another driver"), store.transaction() as conn:
        leases.begin_write(conn, old, 1, 60)
    with store.transaction() as conn:
        assert new is not None and leases.begin_write(conn, new, 1, 60)


def test_a_write_renews_an_expired_lease_that_nobody_else_has_claimed(store: Store) -> None:
    with store.transaction() as conn:
        run = _run(conn)
        fence = leases.claim(conn, run.id, ANNA, 60)
    assert fence is not None
    _expire(store, run.id)
    with store.transaction() as conn:
        assert leases.begin_write(conn, fence, 1, 60)
        assert leases.claim(conn, run.id, BERT, 60) is None


def test_a_released_lease_writes_nothing(store: Store) -> None:
    with store.transaction() as conn:
        run = _run(conn)
        fence = leases.claim(conn, run.id, ANNA, 60)
        assert fence is not None
        leases.release(conn, fence)
        with pytest.raises(LeaseLostError, match="released"):
            leases.begin_write(conn, fence, 1, 60)


def test_a_write_is_known_again_by_its_number_until_the_next_claim(store: Store) -> None:
    with store.transaction() as conn:
        run = _run(conn)
        fence = leases.claim(conn, run.id, ANNA, 60)
        assert fence is not None
        assert [leases.begin_write(conn, fence, number, 60) for number in (1, 1, 2, 5, 5)] == [
            True,
            False,
            True,
            True,
            False,
        ]
        leases.release(conn, fence)
        again = leases.claim(conn, run.id, ANNA, 60)
        assert again is not None and leases.begin_write(conn, again, 1, 60)


def test_a_claim_of_an_expired_lease_ends_the_write_that_its_owner_left_open(store: Store) -> None:
    with store.transaction() as conn:
        run = _run(conn)
        fence = leases.claim(conn, run.id, ANNA, 0.05)
    assert fence is not None

    def freeze() -> None:
        with store.transaction() as conn:
            leases.begin_write(conn, fence, 1, 0.05)
            runs.set_iteration(conn, run.id, 9)
            _expire_by_waiting(store, run.id)
            with store.transaction() as other:
                assert leases.claim(other, run.id, BERT, 60) == Fence(run.id, 2)

    with pytest.raises(StoreAwayError, match="terminating connection"):
        freeze()
    with store.transaction() as conn:
        assert runs.get_run(conn, run.id).iteration == 0


def test_a_renewal_that_froze_beside_a_write_keeps_the_run_from_nobody(store: Store) -> None:
    with store.transaction() as conn:
        run = _run(conn)
        fence = leases.claim(conn, run.id, ANNA, 0.2)
    assert fence is not None
    thawed, lost = Event(), list[StoreAwayError]()

    def renew() -> None:
        try:
            with store.transaction() as conn:
                leases.renew(conn, fence, 60)  # waits for the write, and has the lease's row after it
                thawed.wait(60)
        except StoreAwayError as error:
            lost.append(error)

    renewing = Thread(target=renew)

    def freeze() -> None:
        with store.transaction() as conn:
            leases.begin_write(conn, fence, 1, 0.2)
            renewing.start()
            while not conn.execute(
                text(
                    "SELECT pg_stat_clear_snapshot(), count(*) FROM pg_stat_activity WHERE "
                    "application_name LIKE '% lease' AND wait_event_type = 'Lock'"
                )
            ).one()[1]:
                time.sleep(0.01)
            _expire_by_waiting(store, run.id)
            with store.transaction() as other:
                assert leases.claim(other, run.id, BERT, 60) == Fence(run.id, 2)

    try:
        with pytest.raises(StoreAwayError, match="terminating connection"):
            freeze()
    finally:
        thawed.set()
        renewing.join()
    assert len(lost) == 1


def test_a_lease_that_expires_while_it_is_claimed_is_taken_from_a_frozen_driver(store: Store) -> None:
    with store.transaction() as conn:
        run = _run(conn)
        fence = leases.claim(conn, run.id, ANNA, 1.0)
    assert fence is not None

    late = Event()

    def expire(_conn: object, _cursor: object, statement: str, *_more: object) -> None:
        if "SET fence = fence + 1" in statement and not late.is_set():
            late.set()
            time.sleep(1.5)

    def freeze() -> None:
        with store.transaction() as conn:
            leases.begin_write(conn, fence, 1, 1.0)
            event.listen(store.engine, "before_cursor_execute", expire)
            with store.transaction() as other:
                assert leases.claim(other, run.id, BERT, 60) == Fence(run.id, 2)

    with pytest.raises(StoreAwayError, match="terminating connection"):
        freeze()
    assert late.is_set()


def test_writes_of_other_leases_and_databases_are_left_alone(store: Store, database_url: str) -> None:
    with store.transaction() as conn:
        run, other = _run(conn), _run(conn)
        fence = leases.claim(conn, run.id, ANNA, 0.01)
        theirs = leases.claim(conn, other.id, BERT, 60)
    assert fence is not None and theirs is not None
    _expire_by_waiting(store, run.id)
    elsewhere = make_url(database_url).set(drivername="postgresql+psycopg", database="eva")
    with create_engine(elsewhere, poolclass=NullPool).begin() as stranger, store.transaction() as conn:
        # another database of the same server, with a run and a lease of the same numbers
        stranger.execute(text(f"SET LOCAL application_name = 'eva run {run.id} fence {fence.fence}'"))
        assert leases.begin_write(conn, theirs, 1, 60)
        with store.transaction() as claiming:
            assert leases.claim(claiming, run.id, BERT, 60) is not None
            leases.end_own_writes(claiming, fence)
        assert stranger.execute(text("SELECT 1")).scalar() == conn.execute(text("SELECT 1")).scalar()


def test_a_claim_waits_for_a_write_in_progress(store: Store) -> None:
    with store.transaction() as conn:
        run = _run(conn)
        fence = leases.claim(conn, run.id, ANNA, 60)
    assert fence is not None
    seen: list[int] = []

    def take() -> None:
        with store.transaction() as conn:
            leases.claim(conn, run.id, BERT, 60, break_owner=ANNA)
            seen.append(runs.get_run(conn, run.id).iteration)

    other = Thread(target=take)
    with store.transaction() as conn:
        leases.begin_write(conn, fence, 1, 60)
        other.start()
        other.join(0.3)
        assert other.is_alive()
        runs.set_iteration(conn, run.id, 5)
    other.join()
    assert seen == [5]
