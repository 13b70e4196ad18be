"""The overseer on a run of fakes: incidents become events; a stage that stands still is told, and then ended."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eva.config import RunConfig
from eva.errors import NoRoomError, RayAwayError, StalledError
from eva.roles import Roles
from eva.runtime.worker_reports import Incident, WorkerStatus
from eva.settings import Settings
from eva.types import PromptResponses, Request
from orchestrator.driver import drive
from orchestrator.hold.overseer import Overseer
from orchestrator.launch.registration import register_run
from store.rows import EventRow, RunRow, StageRow
from store.runs import events, runs, stages
from store.session import Store
from tests.support.fakes import FakeGenerator, Recorder, fake_config, fake_roles

HANDS = (WorkerStatus("engine 0", "3 prompts in flight (4, 7, 9)", 12.3),)


class Odd(FakeGenerator):
    """Does something else before the sixth answer."""

    def __init__(self, instead: Callable[[], object]) -> None:
        super().__init__()
        self.instead, self.left = instead, 6

    def generate(self, requests: Iterable[Request]) -> Iterator[PromptResponses]:
        for answered in super().generate(requests):
            self.left -= 1
            if self.left == 0:
                self.instead()
            yield answered


def playing(
    store: Store,
    folder: Path,
    instead: Callable[[Overseer], object],
    **watchdog: float,
) -> tuple[RunRow, list[EventRow], list[StageRow], Recorder, BaseException | None]:
    """Play a run whose generator does something odd in the middle; what is stored of it, told, and raised."""
    run, watch, error = register_run(store, fake_config(watchdog=watchdog)), Recorder(), None

    @contextmanager
    def build(_config: RunConfig, _folder: Path, _settings: Settings, overseer: Overseer) -> Generator[Roles]:
        overseer._tick_s = 0.01
        yield fake_roles(generator=Odd(lambda: instead(overseer)), at_work=lambda: HANDS)

    try:
        drive(store, Settings(folder, None, None), run, watch, build=build)
    except (StalledError, NoRoomError, RayAwayError) as raised:
        error = raised
    with store.transaction() as conn:
        return (
            runs.get_run(conn, run.id),
            events.events_after(conn, run.id),
            stages.read_stages(conn, run.id),
            watch,
            error,
        )


def test_an_incident_is_an_event_of_its_stage_and_is_told(store: Store, tmp_path: Path) -> None:
    lost = Incident("engine_lost", "engine 1 is replaced: it crashed", {"slot": 1, "asked_again": 3})
    row, happened, _, watch, _ = playing(store, tmp_path, lambda overseer: overseer.notice(lost))
    (event,) = [event for event in happened if event.kind == "engine_lost"]
    assert (event.iteration, event.stage, event.data) == (0, "evaluate_initial", {"slot": 1, "asked_again": 3})
    assert watch.notes == [lost.text] and row.status == "finished"


def test_a_stage_that_stands_still_is_told_once_with_what_the_workers_have_in_hand(
    store: Store, tmp_path: Path
) -> None:
    def until_told(overseer: Overseer) -> None:
        overseer._idle_s = 150
        while not overseer._reported:
            threading.Event().wait(0.01)
        overseer._idle_s = 160
        threading.Event().wait(0.1)

    row, happened, _, watch, _ = playing(store, tmp_path, until_told, tell_s=100, end_s=1e6)
    told = [event for event in happened if event.kind == "stalled"]
    assert row.status == "finished" and watch.notes == [
        (
            "nothing has advanced in stage evaluate_initial of iteration 0 for 150 s: "
            "engine 0: 3 prompts in flight (4, 7, 9), silent for 12 s"
        )
    ]
    assert [(event.stage, event.data["workers"]) for event in told] == [("evaluate_initial", [str(HANDS[0])])]


def test_a_cluster_that_is_lost_pauses_the_run_before_ray_ends_the_process(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.hold.overseer.LOST_S", 0.05)

    def lose_the_head(overseer: Overseer) -> None:
        overseer.cluster_loss = lambda: "Ray's head (GCS) at 127.0.0.1:6379 does not answer"
        threading.Event().wait(60)

    row, _, _, watch, error = playing(store, tmp_path, lose_the_head)
    assert isinstance(error, RayAwayError) and "head (GCS) at 127.0.0.1:6379" in str(error)
    assert (row.status, row.error) == ("paused", str(error)) and watch.notes == [str(error)]


def test_a_cluster_that_answers_again_soon_is_not_lost(store: Store, tmp_path: Path) -> None:
    def blink(overseer: Overseer) -> None:
        overseer.cluster_loss = lambda: "Ray's head (GCS) does not answer"
        while overseer._lost_since is None:
            threading.Event().wait(0.01)
        overseer.cluster_loss = lambda: None
        while overseer._lost_since is not None:
            threading.Event().wait(0.01)

    row, _, _, _, error = playing(store, tmp_path, blink)
    assert (row.status, error) == ("finished", None)


def test_a_stage_that_stands_still_for_too_long_fails_and_the_run_can_be_resumed(store: Store, tmp_path: Path) -> None:
    def stand_still(overseer: Overseer) -> None:
        overseer._idle_s = 250
        threading.Event().wait(60)

    row, happened, states, _, error = playing(store, tmp_path, stand_still, tell_s=100, end_s=200)
    assert isinstance(error, StalledError) and "engine 0: 3 prompts in flight (4, 7, 9)" in str(error)
    assert row.status == "failed" and row.error == str(error) and "watchdog.end_s" in str(error)
    assert [(state.name, state.status, state.error) for state in states] == [("evaluate_initial", "failed", str(error))]
    assert [event.kind for event in happened if event.stage][-2:] == ["stalled", "stage_failed"]
    again = Recorder()

    @contextmanager
    def whole(*_: object) -> Generator[Roles]:
        yield fake_roles()

    drive(store, Settings(tmp_path, None, None), row, again, build=whole)
    with store.transaction() as conn:
        assert runs.get_run(conn, row.id).status == "finished"


def test_a_run_for_whose_engines_no_machine_has_room_pauses_with_the_reason(store: Store, tmp_path: Path) -> None:
    def no_room(_: Overseer) -> None:
        raise NoRoomError("there is no engine", next_move="Join machines")

    row, _, _, _, error = playing(store, tmp_path, no_room)
    assert (row.status, row.error) == ("paused", str(error))


@pytest.mark.parametrize("watchdog", [{"tell_s": 0}, {"tell_s": 10, "end_s": 9}, {"end_s": -1}])
def test_a_watchdog_that_cannot_be_is_refused(watchdog: dict[str, float]) -> None:
    with pytest.raises(Exception, match="watchdog"):
        fake_config(watchdog=watchdog)
