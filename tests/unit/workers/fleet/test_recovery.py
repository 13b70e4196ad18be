"""Lost engines: what is told, how long the fleet pauses, and what it does where no machine has room."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from eva.errors import EngineDiedError, NoRoomError
from eva.runtime.worker_reports import Incident
from eva.types import Checkpoint, Request, SamplingSettings
from tests.support import tiny_models
from tests.support.simulated_engines import SimulatedEngines
from workers.fleet.dispatch import Limits
from workers.fleet.fleet import Fleet
from workers.fleet.recovery import BACKOFF_MAX_S
from workers.training.checkpoints import seal

SAMPLING = SamplingSettings(0.7, 0.9, 64)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    folder = tiny_models.record_canary(tiny_models.llama(tmp_path_factory.mktemp("models") / "0"))
    return Checkpoint(0, 0, str(folder), seal(folder))


def requests_of(count: int) -> list[Request]:
    return [Request(number, f"prompt {number}", 2, 100 * number, SAMPLING) for number in range(count)]


def played(
    engines: SimulatedEngines,
    policy: Checkpoint,
    folder: Path,
    told: list[Incident],
    count: int = 40,
    restarts: int = 9,
) -> list[int]:
    """Numbers of the prompts answered, in order."""
    limits = Limits(8, restarts, 60, start_s=300, backoff_s=1)
    with Fleet(engines, limits, folder / "views", notice=told.append) as fleet:
        fleet.load(policy)
        return sorted(answered.number for answered in fleet.generate(requests_of(count)))


def test_a_lost_engine_is_reported_with_slot_reason_and_number_of_prompts_sent_again(
    policy: Checkpoint, tmp_path: Path
) -> None:
    told: list[Incident] = []
    left = [1]
    engines = SimulatedEngines(2, kills=lambda r: r.number == 20 and bool(left) and left.pop() == 1)
    assert played(engines, policy, tmp_path, told, count=3000) == list(range(3000))
    lost, back = told
    asked = [number for _, number in engines.asked]
    again = len(asked) - len(set(asked))
    assert (lost.kind, back.kind) == ("engine_lost", "engine_back")
    assert lost.data == {
        "slot": lost.data["slot"],
        "reason": "it crashed",
        "asked_again": again,
        "given_up": 0,
        "pause_s": 0.0,
    }
    assert 1 <= again <= 8 and back.data["slot"] == lost.data["slot"]
    assert lost.text == f"engine {lost.data['slot']} is being replaced: it crashed; {again} prompts are sent again"


def test_a_silent_engine_and_one_with_wrong_weights_are_reported_too(policy: Checkpoint, tmp_path: Path) -> None:
    told: list[Incident] = []
    left = [1]
    engines = SimulatedEngines(2, offs=(True,), hangs=lambda r: r.number == 3 and bool(left))
    engines_end = engines.end
    engines.end = lambda slot: (left.clear() if engines.replacements else None, engines_end(slot))[1]  # type: ignore[method-assign]
    assert played(engines, policy, tmp_path, told) == list(range(40))
    reasons = [incident.data["reason"] for incident in told if incident.kind == "engine_lost"]
    assert reasons[0] == "its canary is off" and str(reasons[1]).startswith("it finished nothing for 6")


def test_deaths_in_a_row_are_followed_by_longer_and_longer_pauses(policy: Checkpoint, tmp_path: Path) -> None:
    told: list[Incident] = []
    engines = SimulatedEngines(1, offs=[True] * 9, start_s=0.0)
    assert played(engines, policy, tmp_path, told, restarts=20) == list(range(40))
    pauses = [incident.data["pause_s"] for incident in told if incident.kind == "engine_lost"]
    assert pauses == [0, 1, 2, 4, 8, 16, 32, BACKOFF_MAX_S, BACKOFF_MAX_S]
    gaps = [later - before for before, later in zip(engines.replaced_at, engines.replaced_at[1:], strict=False)]
    assert all(gap >= pause for gap, pause in zip(gaps, pauses[1:], strict=True))  # type: ignore[operator]


def test_an_engine_that_answered_is_started_again_at_once(policy: Checkpoint, tmp_path: Path) -> None:
    told: list[Incident] = []
    seen: set[int] = set()

    def crash(request: Request) -> bool:
        first = request.number in (100, 700) and request.number not in seen
        seen.add(request.number)
        return first

    engines = SimulatedEngines(1, kills=crash, length_of=lambda _: 5)
    assert played(engines, policy, tmp_path, told, count=1000) == list(range(1000))
    assert [incident.data["pause_s"] for incident in told if incident.kind == "engine_lost"] == [0, 0]


def test_the_fleet_continues_with_fewer_engines_if_no_machine_has_room(policy: Checkpoint, tmp_path: Path) -> None:
    told: list[Incident] = []
    left = [1]
    engines = SimulatedEngines(
        2, kills=lambda r: r.number == 5 and bool(left) and left.pop() == 1, rooms=lambda now: False
    )
    limits = Limits(8, 3, 60, start_s=300)
    with Fleet(engines, limits, tmp_path / "views", notice=told.append) as fleet:
        fleet.load(policy)
        assert len(list(fleet.generate(requests_of(2000)))) == 2000
        fleet.load(policy)
        assert len(engines.up) == 1, "a load waits for the engines that can be had"
        engines.rooms = lambda now: True
        assert len(list(fleet.generate(requests_of(3000)))) == 3000
    assert [incident.kind for incident in told] == ["engine_lost", "engine_waits", "engine_back"]
    assert told[1].data["reason"] == "CPU 0 free of 2, 2 needed"


class Once:
    """True the first time that one of these prompts is seen."""

    def __init__(self, *numbers: int) -> None:
        self.left = set(numbers)

    def __call__(self, request: Request) -> bool:
        hit = request.number in self.left
        self.left.discard(request.number)
        return hit


def test_a_slot_that_never_starts_again_costs_its_share_and_is_tried_again_in_the_next_stage(
    policy: Checkpoint, tmp_path: Path
) -> None:
    told: list[Incident] = []
    engines = SimulatedEngines(3, kills=Once(0), broken=frozenset({0, 1, 2}), start_s=0.0)
    with Fleet(engines, Limits(8, 2, 60, start_s=300), tmp_path / "views", notice=told.append) as fleet:
        fleet.load(policy)
        assert len(list(fleet.generate(requests_of(1500)))) == 1500
        dead = engines.replacements[0]
        assert engines.replacements == [dead, dead] and len(engines.up) == 2
        assert [incident.kind for incident in told] == ["engine_lost", "engine_lost", "engine_given_up"]
        assert f"engine {dead} is given up in this stage after 2 replacements in a row: it does not" in told[-1].text
        engines.broken = frozenset()
        assert len(list(fleet.generate(requests_of(1500)))) == 1500
        assert engines.up == {0, 1, 2}


def test_a_lost_machine_counts_neither_against_its_engines_nor_against_their_prompts(
    policy: Checkpoint, tmp_path: Path
) -> None:
    told: list[Incident] = []
    engines = SimulatedEngines(1, machines=Once(*range(0, 60, 10)), start_s=0.0)
    with Fleet(engines, Limits(8, 0, 60, start_s=300), tmp_path / "views", notice=told.append) as fleet:
        fleet.load(policy)
        answered = list(fleet.generate(requests_of(60)))
    assert len(answered) == 60 and not any(each.failure for each in answered)
    assert [incident.kind for incident in told] == ["engine_lost", "engine_back"] * 6
    assert {incident.data["pause_s"] for incident in told if incident.kind == "engine_lost"} == {0.0}


def test_an_engine_without_a_machine_is_asked_for_at_once_and_starts_when_one_comes(
    policy: Checkpoint, tmp_path: Path
) -> None:
    """It is what an autoscaler sees. Engines that wait are no reason to replace them."""
    told: list[Incident] = []
    engines = SimulatedEngines(1, machines=Once(5), rooms=lambda now: now > 250, start_s=10)
    with Fleet(engines, Limits(8, 0, 60, start_s=300), tmp_path / "views", notice=told.append) as fleet:
        fleet.load(policy)
        assert len(list(fleet.generate(requests_of(40)))) == 40
    assert engines.replacements == [0] and engines.replaced_at[0] < 10
    assert [incident.kind for incident in told] == ["engine_lost", "engine_waits", "engine_back"]


def test_when_the_last_slot_is_given_up_the_reason_is_told(policy: Checkpoint, tmp_path: Path) -> None:
    engines = SimulatedEngines(2, kills=lambda _: True, broken=frozenset({0, 1}), start_s=0.0)
    with pytest.raises(EngineDiedError, match=r"the last one, died \(it does not start\) after 1 repl"):
        played(engines, policy, tmp_path, [], restarts=1)


def test_a_fleet_without_room_for_any_engine_gives_up_with_the_reason(policy: Checkpoint, tmp_path: Path) -> None:
    engines = SimulatedEngines(2, kills=lambda _: True, rooms=lambda now: False)
    with pytest.raises(NoRoomError, match=r"no engine runs.*30\d s.*CPU 0 free of 2, 2 needed.*Add machines"):
        played(engines, policy, tmp_path, [])
    assert engines.now() < 400


def test_the_fleet_reports_what_each_engine_is_working_on(
    policy: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.fleet.fleet.AHEAD", 1)  # or simulated engines are done before they are asked
    engines = SimulatedEngines(2)
    with Fleet(engines, Limits(8, 3, 60), tmp_path / "views") as fleet:
        assert fleet.at_work() == []
        fleet.load(policy)
        answers = fleet.generate(requests_of(50))
        next(answers)
        described = [str(work) for work in fleet.at_work()]
        assert [text.split(":")[0] for text in described] == ["engine 0", "engine 1"]
        assert re.fullmatch(r"engine 0: \d prompts in flight \(0, 4, [\d, .]+\), silent for \d s", described[0])
        answers.close()
        assert fleet.at_work() == []
