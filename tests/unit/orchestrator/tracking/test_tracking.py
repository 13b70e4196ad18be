"""Tracking services are told each point of a run once, whatever they do to it and it to them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from eva.runtime.tracker import Opening, TrackerError, TrackingPoint
from eva.settings import Settings
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from orchestrator.tracking import tracking
from orchestrator.tracking.points import points_after
from store.rows import RunRow
from store.runs import events
from store.runs.runs import get_run
from store.session import Store
from store.views.fingerprint import fingerprint
from tests.support.fakes import Died, Recorder, always, fake_config, fake_roles


@dataclass
class Service:
    """Keeps what it is told. `fails` is asked before each point is taken."""

    fails: Callable[[int], None] = lambda number: None
    points: list[TrackingPoint] = field(default_factory=list)
    openings: list[Opening] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    killed: threading.Event = field(default_factory=threading.Event)

    def open(self, opening: Opening) -> str:
        self.openings.append(opening)
        return "http://shown.here"

    def send(self, points: Sequence[TrackingPoint]) -> None:
        for point in points:
            self.fails(point.number)
            self.points.append(point)

    def close(self, status: str) -> None:
        self.statuses.append(status)

    def drop(self) -> None: ...

    def kill(self) -> None:
        self.killed.set()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "POLL_S", 0.01)
    monkeypatch.setattr(tracking, "BACKOFF_S", 0.01)


def played(
    store: Store,
    settings: Settings,
    service: Service | None,
    run: RunRow | None = None,
    listener: Recorder | None = None,
) -> RunRow:
    if run is None:
        run = register_run(store, fake_config(iterations=2))
    with store.transaction() as conn:
        run = get_run(conn, run.id)
    trackers = {} if service is None else {"service": (service, None)}
    drive(store, settings, run, listener or Recorder(), build=always(fake_roles()), trackers=trackers)
    return run


def told(store: Store, run: RunRow) -> list[str]:
    with store.transaction() as conn:
        return [
            event.data.get("reason", event.kind)
            for event in events.events_after(conn, run.id)
            if event.kind.startswith("track")
        ]


def all_points(store: Store, run: RunRow) -> list[TrackingPoint]:
    with store.transaction() as conn:
        return points_after(conn, run.id, 0, 10_000)


def test_a_service_is_told_every_point_once_and_decides_nothing(store: Store, store_settings: Settings) -> None:
    service = Service()
    run, plain = played(store, store_settings, service), played(store, store_settings, None)
    assert service.points == all_points(store, run)
    assert [point.number for point in service.points] == [*range(1, len(service.points) + 1)]
    assert service.statuses == ["finished"] and told(store, run) == ["tracked"]
    (opening,) = service.openings
    assert (opening.name, opening.identity) == (run.name, run.identity) and opening.config["seed"] == 7
    with store.transaction() as conn:
        assert fingerprint(conn, run.id).digest == fingerprint(conn, plain.id).digest


def test_points_are_what_is_stored_however_they_are_asked_for(store: Store, store_settings: Settings) -> None:
    run = played(store, store_settings, None)
    whole = all_points(store, run)
    with store.transaction() as conn:
        assert [points_after(conn, run.id, sent, 1)[0] for sent in range(len(whole))] == whole
    losses = [(point.place, point.values["train/loss"]) for point in whole if "train/loss" in point.values]
    assert losses == [(place, pytest.approx(loss)) for place, loss in enumerate([0.69, 0.68, 0.67] * 2, 1)]
    of = {
        name: [(point.axis, point.place) for point in whole if name in point.values]
        for name in (
            "heldout/easy/greedy/accuracy",
            "batch/reward_mean",
            "batch/reward_best",
            "batch/reward_worst",
            "batch/info_mean",
            "stage/pair/pairs",
            "diversity/vendi",
            "cost/usd/evolving",
            "stage/train/seconds",
            "stage/judge_batch/tokens_per_s",
            "pool/info_mean",
        )
    }
    assert of.pop("heldout/easy/greedy/accuracy") == [("policy", 0), ("policy", 1), ("policy", 2)]
    assert of.pop("pool/info_mean") == [("iteration", 1)]
    assert {name: places for name, places in of.items() if places != [("iteration", 0), ("iteration", 1)]} == {}


def test_a_resumed_run_goes_on_where_its_service_is(store: Store, store_settings: Settings) -> None:
    service = Service()
    run = register_run(store, fake_config(iterations=2))

    def die(iteration: int, stage: str) -> None:
        if (iteration, stage) == (1, "sample"):
            raise Died

    with pytest.raises(Died):
        played(store, store_settings, service, run, Recorder(on_close=die))
    assert 0 < len(service.points) < len(all_points(store, run)) + 1
    played(store, store_settings, service, run)
    assert [point.number for point in service.points] == [*range(1, len(all_points(store, run)) + 1)]
    assert service.statuses[-1] == "finished"
    assert {opening.identity for opening in service.openings} == {run.identity}


def test_a_service_that_fails_for_a_while_is_told_the_rest_later(store: Store, store_settings: Settings) -> None:
    failures = iter([True, True])

    def fails(number: int) -> None:
        if number == 4 and next(failures, False):
            raise TrackerError("down for maintenance; the key is sk-abcdefghijklmnop1234")

    service = Service(fails)
    run = played(store, store_settings, service)
    assert {point.number for point in service.points} == {point.number for point in all_points(store, run)}
    assert service.statuses == ["finished"] and len(service.openings) == 3
    reasons = [reason for reason in told(store, run) if reason != "tracked"]
    assert len(reasons) == 1 and "the run continues" in reasons[0]
    assert "maintenance" in reasons[0] and "sk-" not in reasons[0]


def test_a_service_that_always_fails_is_given_up(store: Store, store_settings: Settings) -> None:
    def fails(number: int) -> None:
        raise TrackerError("no such key")

    service = Service(fails)
    run = played(store, store_settings, service)
    assert service.points == [] and service.statuses == []
    first, *_, last = [reason for reason in told(store, run) if reason != "tracked"]
    assert "tried again" in first and f"failed {tracking.TRIES} times and is not tried again" in last
    assert len(service.openings) == tracking.TRIES


def test_a_service_that_hangs_does_not_hold_the_run(
    store: Store, store_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "FINISH_S", 0.2)
    service = Service()

    def hangs(number: int) -> None:
        service.killed.wait(60)
        raise TrackerError("its process was killed")

    service.fails = hangs
    run = played(store, store_settings, service)
    assert service.killed.is_set() and service.points == []
    with store.transaction() as conn:
        assert get_run(conn, run.id).status == "finished"
    assert told(store, run)[1:] == ["did not receive the end of the run within 0.2 s: its process was killed"]
