"""Runs, leases, fences, events and stages."""

from __future__ import annotations

import time
from threading import Barrier, Event, Thread

import pytest
from sqlalchemy import Connection, NullPool, create_engine, event, make_url, text

from eva.errors import LeaseLostError, NotFoundError, StoreAwayError
from store import events, leases, runs, stages
from store.rows import Fence, RunRow
from store.session import Store

ANNA, BERT = {"host": "a", "pid": 1}, {"host": "b", "pid": 2}


def _run(conn: Connection, stem: str = "demo") -> RunRow:
    return runs.create_run(conn, stem=stem, config={"name": stem}, config_hash="h", seed=7)


def test_a_new_run_has_a_name_of_its_own_and_waits(store: Store) -> None:
    with store.transaction() as conn:
        one, other = _run(conn), _run(conn)
        assert one.name != other.name
        assert one.name.startswith("demo-") and len(one.name) == len("demo-") + 4
        assert (one.status, one.desired, one.iteration, one.prompt_count) == ("created", "run", 0, 0)
        assert runs.get_run(conn, one.id) == one
        lease = leases.holder(conn, one.id)
        assert lease is not None and lease.owner is None and lease.expired


def test_a_name_that_is_taken_is_drawn_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    letters = iter("aaaa" + "aaaa" + "bbbb")
    monkeypatch.setattr("store.runs.secrets.choice", lambda _: next(letters))
    with store.transaction() as conn:
        assert [_run(conn).name, _run(conn).name] == ["demo-aaaa", "demo-bbbb"]


def test_a_run_is_found_by_name_beginning_number_or_as_the_last(store: Store) -> None:
    with store.transaction() as conn:
        one, other = _run(conn, "alpha"), _run(conn, "beta")
        for reference in (one.name, "alp", str(one.id)):
            assert runs.find_run(conn, reference).id == one.id
        for reference in ("last", "latest", "b"):
            assert runs.find_run(conn, reference).id == other.id


@pytest.mark.parametrize("reference", ["alhpa", "", "%", "_", "99", "9" * 30, "a\x00"])
def test_an_unknown_run_is_answered_with_the_nearest_names(store: Store, reference: str) -> None:
    with store.transaction() as conn:
        one = _run(conn, "alpha")
        with pytest.raises(NotFoundError, match=one.name):
            runs.find_run(conn, reference)


def test_a_beginning_of_several_names_is_answered_with_them(store: Store) -> None:
    with store.transaction() as conn:
        names = {_run(conn).name, _run(conn).name}
        with pytest.raises(NotFoundError, match="several") as refused:
            runs.find_run(conn, "demo")
        assert all(name in str(refused.value) for name in names)


def test_without_runs_the_next_move_is_to_start_one(store: Store) -> None:
    with store.transaction() as conn, pytest.raises(NotFoundError, match="eva run"):
        runs.find_run(conn, "last")


def test_runs_are_listed_newest_first_page_by_page(store: Store) -> None:
    with store.transaction() as conn:
        ids = [_run(conn).id for _ in range(5)]
        first = [run.id for run in runs.list_runs(conn, 3)]
        rest = [run.id for run in runs.list_runs(conn, 3, before_id=first[-1])]
    assert first + rest == ids[::-1]


def test_a_run_is_dated_at_its_first_start_and_at_its_end(store: Store) -> None:
    with store.transaction() as conn:
        run = _run(conn)
        runs.set_status(conn, run.id, "running")
        started = runs.get_run(conn, run.id).started_at
        runs.set_status(conn, run.id, "failed", "it broke\x00")
        failed = runs.get_run(conn, run.id)
        runs.set_status(conn, run.id, "running")
        again = runs.get_run(conn, run.id)
    assert started is not None and failed.finished_at is not None and failed.error == "it broke\ufffd"
    assert (again.started_at, again.finished_at, again.error) == (started, None, None)


def test_wishes_iteration_and_notes_are_kept(store: Store) -> None:
    with store.transaction() as conn:
        run = _run(conn)
        runs.set_desired(conn, run.id, "pause")
        runs.set_iteration(conn, run.id, 3)
        runs.annotate_run(conn, run.id, note="why", tags=("a", "b"))
        assert runs.desired(conn, run.id) == "pause"
        kept = runs.get_run(conn, run.id)
        assert (kept.iteration, kept.note, kept.tags) == (3, "why", ("a", "b"))


def test_a_held_run_is_not_given_to_another(store: Store) -> None:
    with store.transaction() as conn:
        run = _run(conn)
        assert leases.claim(conn, run.id, ANNA, 60) == Fence(run.id, 1)
        assert leases.claim(conn, run.id, BERT, 60) is None
        holder = leases.holder(conn, run.id)
        assert holder is not None and holder.owner == ANNA and not holder.expired


def test_a_released_run_is_given_with_a_higher_fence(store: Store) -> None:
    with store.transaction() as conn:
        run = _run(conn)
        first = leases.claim(conn, run.id, ANNA, 60)
        assert first is not None
        leases.release(conn, first)
        assert leases.claim(conn, run.id, BERT, 60) == Fence(run.id, 2)
        leases.release(conn, first)
        holder = leases.holder(conn, run.id)
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
        while (row := leases.holder(conn, run_id)) is not None and not row.expired:
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
            True, False, True, True, False]
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
            while not conn.execute(text("SELECT pg_stat_clear_snapshot(), count(*) FROM pg_stat_activity WHERE "
                                        "application_name LIKE '% lease' AND wait_event_type = 'Lock'")).one()[1]:
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


def test_events_are_numbered_in_commit_order_under_concurrent_writers(store: Store) -> None:
    with store.transaction() as conn:
        run = _run(conn)
    stop, seen = Barrier(5), list[int]()

    def write(name: int) -> None:
        for number in range(20):
            with store.transaction() as conn:
                events.append_event(
                    conn, run.id, "step", {"by": name, "number": number}, iteration=1, stage="judge"
                )
        stop.wait()

    writers = [Thread(target=write, args=(name,)) for name in range(4)]
    for writer in writers:
        writer.start()
    while len(seen) < 80:
        with store.transaction() as conn:
            seen += [
                event.seq for event in events.events_after(conn, run.id, seen[-1] if seen else 0, limit=7)
            ]
    stop.wait()
    for writer in writers:
        writer.join()
    assert seen == list(range(1, 81))


def test_an_event_that_is_rolled_back_leaves_no_gap(store: Store) -> None:
    with store.transaction() as conn:
        run = _run(conn)

    def lose() -> None:
        with store.transaction() as conn:
            events.append_event(conn, run.id, "lost")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        lose()
    with store.transaction() as conn:
        assert events.append_event(conn, run.id, "kept", {"text": "a\x00"}) == 1
        (event,) = events.events_after(conn, run.id)
    assert (event.kind, event.data, event.iteration, event.stage) == ("kept", {"text": "a\ufffd"}, None, None)


def test_a_stage_counts_attempts_and_seconds_and_stays_done(store: Store) -> None:
    with store.transaction() as conn:
        run = _run(conn)
        opened = stages.open_stage(conn, run.id, 0, "judge", total=10, input_hash="x")
        assert (opened.status, opened.attempts, opened.done, opened.position) == ("running", 1, 0, 0)
        stages.advance_stage(conn, run.id, 0, "judge", 4, seconds=1.5)
        stages.fail_stage(conn, run.id, 0, "judge", "engine died", seconds=0.5)
        assert stages.read_stages(conn, run.id)[0].error == "engine died"
        again = stages.open_stage(conn, run.id, 0, "judge", total=10, input_hash="x")
        assert (again.status, again.attempts, again.done, again.error) == ("running", 2, 4, None)
        stages.close_stage(conn, run.id, 0, "judge", {"responses": 40}, seconds=2)
        done = stages.open_stage(conn, run.id, 0, "judge", total=99)
        assert (done.status, done.attempts, done.done, done.total, done.seconds) == ("done", 2, 10, 10, 4.0)
        assert done.counts == {"responses": 40} and done.finished_at is not None
        stages.fail_stage(conn, run.id, 0, "judge", "too late")
        assert stages.read_stages(conn, run.id) == [done]


def test_stages_are_read_in_the_order_in_which_they_were_started(store: Store) -> None:
    with store.transaction() as conn:
        run = _run(conn)
        for iteration, name in ((0, "judge"), (0, "pair"), (1, "judge"), (0, "judge")):
            stages.open_stage(conn, run.id, iteration, name)
        found = [(stage.iteration, stage.name) for stage in stages.read_stages(conn, run.id)]
    assert found == [(0, "judge"), (0, "pair"), (1, "judge")]
