"""Runs, events and stages."""

from __future__ import annotations

from threading import Barrier, Thread

import pytest
from sqlalchemy import Connection

from eva.errors import NotFoundError
from store.rows import RunRow
from store.runs import events, leases, runs, stages
from store.session import Store


def _run(conn: Connection, stem: str = "demo") -> RunRow:
    return runs.create_run(conn, stem=stem, config={"name": stem}, config_hash="h", seed=7)


def test_a_new_run_has_a_name_of_its_own_and_waits(store: Store) -> None:
    with store.transaction() as conn:
        one, other = _run(conn), _run(conn)
        assert one.name != other.name
        assert one.name.startswith("demo-") and len(one.name) == len("demo-") + 4
        assert (one.status, one.desired, one.iteration, one.prompt_count) == ("created", "run", 0, 0)
        assert runs.get_run(conn, one.id) == one
        lease = leases.read_lease(conn, one.id)
        assert lease is not None and lease.owner is None and lease.expired


def test_a_name_that_is_taken_is_drawn_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    letters = iter("aaaa" + "aaaa" + "bbbb")
    monkeypatch.setattr("store.runs.runs.secrets.choice", lambda _: next(letters))
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
def test_an_unknown_run_is_reported_with_the_nearest_names(store: Store, reference: str) -> None:
    with store.transaction() as conn:
        one = _run(conn, "alpha")
        with pytest.raises(NotFoundError, match=one.name):
            runs.find_run(conn, reference)


def test_an_ambiguous_name_is_reported_with_its_runs(store: Store) -> None:
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


def test_the_desired_state_the_iteration_and_notes_are_kept(store: Store) -> None:
    with store.transaction() as conn:
        run = _run(conn)
        runs.set_desired(conn, run.id, "pause")
        runs.set_iteration(conn, run.id, 3)
        runs.annotate_run(conn, run.id, note="why", tags=("a", "b"))
        assert runs.read_desired(conn, run.id) == "pause"
        kept = runs.get_run(conn, run.id)
        assert (kept.iteration, kept.note, kept.tags) == (3, "why", ("a", "b"))


def test_events_are_numbered_in_commit_order_under_concurrent_writers(store: Store) -> None:
    with store.transaction() as conn:
        run = _run(conn)
    stop, seen = Barrier(5), list[int]()

    def write(name: int) -> None:
        for number in range(20):
            with store.transaction() as conn:
                events.append_event(conn, run.id, "step", {"by": name, "number": number}, iteration=1, stage="judge")
        stop.wait()

    writers = [Thread(target=write, args=(name,)) for name in range(4)]
    for writer in writers:
        writer.start()
    while len(seen) < 80:
        with store.transaction() as conn:
            seen += [event.seq for event in events.events_after(conn, run.id, seen[-1] if seen else 0, limit=7)]
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
