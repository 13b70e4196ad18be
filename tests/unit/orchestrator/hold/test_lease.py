import json
import os
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from eva.errors import ConflictError, LeaseLostError, LeaseTakenError
from eva.runtime.processes import is_alive, is_dead, this_process
from eva.settings import Settings
from orchestrator.driver import drive
from orchestrator.hold.interrupts import interrupt_handlers
from orchestrator.hold.lease import claim, end_dead_leases
from orchestrator.launch.registration import register_run
from store.rows import RunRow
from store.runs import leases, runs
from store.session import Store
from store.views.run_lists.pages import read_standing
from tests.support.fakes import Recorder, always, fake_config, fake_roles


@pytest.fixture
def run(store: Store) -> RunRow:
    return register_run(store, fake_config(iterations=1))


def test_a_run_that_a_living_driver_holds_is_refused_with_its_process(store: Store, run: RunRow) -> None:
    with claim(store, run), pytest.raises(LeaseTakenError, match=f"process {os.getpid()}"):
        claim(store, run)
    with claim(store, run):
        pass


def test_a_dead_process_of_this_machine_is_relieved_at_once(store: Store, run: RunRow) -> None:
    code = "import json; from eva.runtime.processes import this_process; print(json.dumps(this_process()))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    owner = json.loads(said.stdout)
    assert is_dead(owner) and not is_dead(this_process()) and not is_dead(owner | {"host": "elsewhere"})
    with store.transaction() as conn:
        old = leases.claim(conn, run.id, owner, 3600)
    assert old is not None
    with claim(store, run) as lease:
        assert lease.fence.fence == old.fence + 1
        with pytest.raises(LeaseLostError), store.transaction() as conn:
            leases.begin_write(conn, old, 1, 60)


def test_a_driver_that_lost_its_lease_leaves_and_writes_nothing_more(store: Store, run: RunRow, tmp_path: Path) -> None:
    def lose(iteration: int, stage: str) -> None:
        if stage == "pair":
            with store.transaction() as conn:
                holder = leases.read_lease(conn, run.id)
                assert holder is not None and holder.owner is not None
                assert leases.claim(conn, run.id, {"host": "other"}, 60, break_owner=dict(holder.owner))

    settings = Settings(tmp_path, None, None)
    with pytest.raises(LeaseLostError):
        drive(store, settings, run, Recorder(on_close=lose), build=always(fake_roles()))
    with store.transaction() as conn:
        row = runs.get_run(conn, run.id)
        holder = leases.read_lease(conn, run.id)
    assert row.status == "running", "whoever took over tells how the run goes"
    assert holder is not None and holder.owner == {"host": "other"}


def test_that_the_lease_is_lost_is_said_whenever_its_thread_finds_it(
    store: Store, run: RunRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaving = threading.Event()

    def refused_at_last(*asked: object) -> bool:
        assert leaving.wait(30)
        return False

    monkeypatch.setattr(leases, "renew", refused_at_last)

    def refused_before_the_thread_knows() -> None:
        threading.Timer(0.5, leaving.set).start()  # by then this thread waits for the other
        raise LeaseLostError("the write said so")

    def refused_as_the_thread_finds_out() -> None:
        try:
            raise LeaseLostError("the write said so")
        finally:
            leaving.set()
            time.sleep(30)  # the signal ends it

    for played, said in (
        (refused_before_the_thread_knows, "the write said so"),
        (refused_as_the_thread_finds_out, "another driver"),
    ):
        leaving.clear()
        with pytest.raises(LeaseLostError, match=said), interrupt_handlers(), claim(store, run, ttl_s=0.06):
            played()


def test_a_finished_run_is_not_played_again(store: Store, run: RunRow, tmp_path: Path) -> None:
    settings = Settings(tmp_path, None, None)
    drive(store, settings, run, Recorder(), build=always(fake_roles()))
    with store.transaction() as conn:
        run = runs.get_run(conn, run.id)
    with pytest.raises(ConflictError, match="is finished"):
        drive(store, settings, run, Recorder(), build=always(fake_roles()))


def test_a_lease_is_renewed_again_and_again_while_it_is_held(store: Store, run: RunRow) -> None:
    ends: set[datetime] = set()
    with claim(store, run, ttl_s=3.0):
        while len(ends) < 4:
            with store.transaction() as conn:
                holder = leases.read_lease(conn, run.id)
            assert holder is not None and holder.expires_at is not None
            ends.add(holder.expires_at)
            time.sleep(0.02)
    with store.transaction() as conn:
        holder = leases.read_lease(conn, run.id)
    assert holder is not None and holder.owner is None


def test_a_process_of_another_container_is_never_dead_for_certain(store: Store, run: RunRow) -> None:
    """Containers on the network of their host share its name and boot, but each counts its processes from one."""
    other = this_process() | {"namespace": "pid:[1]", "pid": 2**22 - 1, "started": 7}
    assert is_dead(other | {"namespace": this_process()["namespace"]})
    assert not is_dead(other) and not is_alive(other)
    earlier = {key: value for key, value in other.items() if key != "namespace"}
    assert not is_dead(earlier), "an older eva did not say which namespace it meant"
    with store.transaction() as conn:
        assert leases.claim(conn, run.id, other, 60) is not None
    with pytest.raises(LeaseTakenError, match="try again in 30 s"):
        claim(store, run)


def test_a_dead_driver_of_this_machine_no_longer_looks_like_one_that_plays(store: Store, run: RunRow) -> None:
    with store.transaction() as conn:
        other = register_run(store, fake_config(iterations=1))
        runs.set_status(conn, run.id, "running")
        runs.set_status(conn, other.id, "running")
        leases.claim(conn, run.id, this_process() | {"pid": 2**22 - 1}, 60)
        leases.claim(conn, other.id, this_process(), 60)
    end_dead_leases(store)
    with store.transaction() as conn:
        assert read_standing(conn, run).standing == "interrupted"
        assert read_standing(conn, other).standing == "running"


def test_a_clock_that_was_set_back_holds_a_run_no_longer_than_a_lease_lasts(store: Store, run: RunRow) -> None:
    def left_s() -> float:
        with store.transaction() as conn:
            return conn.execute(
                text("SELECT extract(epoch FROM expires_at - clock_timestamp()) FROM leases")
            ).scalar_one()

    def claim_it() -> None:
        with pytest.raises(LeaseTakenError):
            claim(store, run)

    for settle in (lambda: end_dead_leases(store), claim_it):
        with store.transaction() as conn:
            conn.execute(
                text("UPDATE leases SET owner = '{\"host\": \"h\"}', expires_at = clock_timestamp() + interval '1 h'")
            )
        settle()
        assert 25 < left_s() <= 30
