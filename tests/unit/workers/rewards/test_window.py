"""The window of prompts in flight, played against processes that die."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eva.errors import NoRoomError, RewarderDiedError
from eva.runtime.worker_reports import Incident
from eva.types import PromptResponses, Response, Reward, RewardedResponses
from workers.rewards import window as window_module
from workers.rewards.model import PROCESS_DIED, RewardRequest
from workers.rewards.window import Rewards, Window, emptiest, hand_over, take_from


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The window looks again soon: the time that counts is that of the tests' clocks."""
    monkeypatch.setattr(window_module, "_POLL_S", 0.01)
    monkeypatch.setattr(window_module, "_ROOM_POLL_S", 0.01)


class DiedError(Exception):
    pass


class FakeProcess:
    """Works off its queue when told to; dies of poisonous prompts and takes its queue along."""

    died: tuple[type[BaseException], ...] = (DiedError,)

    def __init__(self, poison: frozenset[str] = frozenset(), accidents: int = 0) -> None:
        self.poison, self.accidents = poison, accidents
        self.queue: list[tuple[list[RewardRequest], Future[Rewards]]] = []
        self.sizes: list[int] = []
        self.restarts = 0
        self.missing: str | None = None
        self.machine_lost = False

    def missing_room(self) -> str | None:
        return self.missing

    def lost_machine(self, error: BaseException) -> bool:
        return self.machine_lost

    def submit(self, requests: Sequence[RewardRequest]) -> Future[Rewards]:
        future: Future[Rewards] = Future()
        self.queue.append((list(requests), future))
        self.sizes.append(len(requests))
        return future

    def restart(self) -> None:
        self.restarts += 1
        self.queue.clear()

    def work(self) -> None:
        """Ends the oldest call."""
        if not self.queue:
            return
        asked, future = self.queue.pop(0)
        if self.accidents or any(prompt in self.poison for prompt, *_ in asked):
            self.accidents = max(0, self.accidents - 1)
            for lost in (future, *(other for _, other in self.queue)):
                lost.set_exception(DiedError("gone"))
            return
        future.set_result(
            [tuple(Reward(float(len(text))) for text in texts) for _, texts, *_ in asked],
        )


def prompt(number: int) -> PromptResponses:
    return PromptResponses(number, f"prompt {number}", (Response(0, "a" * number, "stop", 1, 0),))


def play(process: FakeProcess, window: Window, count: int, work_every: int = 1) -> list[RewardedResponses]:
    rewarded: list[RewardedResponses] = []
    for number in range(count):
        window.put(prompt(number))
        if number % work_every == 0:
            process.work()
        rewarded += window.take(block=False)
        while window.full:
            process.work()
            rewarded += window.take(block=True)
    while not window.empty:
        process.work()
        rewarded += window.take(block=True)
    return rewarded


@settings(deadline=None)
@given(
    count=st.integers(0, 60),
    poison=st.sets(st.integers(0, 59), max_size=4),
    per_call=st.integers(1, 9),
    calls=st.integers(1, 3),
    work_every=st.integers(1, 7),
)
def test_every_prompt_comes_back_once_and_only_the_poisonous_stay_unrewarded(
    count: int, poison: set[int], per_call: int, calls: int, work_every: int
) -> None:
    process = FakeProcess(frozenset(f"prompt {number}" for number in poison))
    window = Window(process, per_call=per_call, calls=calls, restarts=100)
    rewarded = play(process, window, count, work_every)
    assert sorted(one.prompt.number for one in rewarded) == list(range(count))
    for one in rewarded:
        number = one.prompt.number
        expected = Reward(None, PROCESS_DIED) if number in poison else Reward(float(number))
        assert one.rewards == (expected,)


def test_an_accident_costs_no_prompt_its_reward() -> None:
    process = FakeProcess(accidents=1)
    rewarded = play(process, Window(process, per_call=8), 50)
    assert len(rewarded) == 50
    assert all(one.rewards[0].value is not None for one in rewarded)
    assert process.restarts == 1


def test_a_poisonous_prompt_costs_three_restarts_at_most() -> None:
    process = FakeProcess(frozenset({"prompt 20"}))
    play(process, Window(process, per_call=8), 50, work_every=9)
    assert process.restarts == 3


def test_a_process_that_always_dies_ends_the_work() -> None:
    process = FakeProcess(accidents=10**6)
    with pytest.raises(RewarderDiedError, match="died 5 times in a row: gone"):
        play(process, Window(process, per_call=8, restarts=4), 50)
    assert process.restarts == 4


def test_an_idle_process_gets_its_prompt_at_once_and_a_busy_one_larger_calls() -> None:
    process = FakeProcess()
    window = Window(process, per_call=8)
    for number in range(10):
        window.put(prompt(number))
    assert process.sizes == [1, 1]
    assert window.full
    process.work()
    assert len(window.take(block=True)) == 1
    assert process.sizes == [1, 1, 8]
    assert not window.full


def test_an_error_of_the_reward_model_itself_is_raised() -> None:
    process = FakeProcess()
    window = Window(process)
    window.put(prompt(1))
    process.queue[0][1].set_exception(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        window.take(block=True)


def test_a_process_that_is_frozen_is_replaced_and_its_prompts_are_rewarded_again() -> None:
    told: list[Incident] = []
    process, seconds = FakeProcess(), iter(range(0, 10**6, 400))
    window = Window(process, per_call=4, hung_s=1000, notice=told.append, clock=lambda: next(seconds))
    for number in range(3):
        window.put(prompt(number))
    submit = process.submit

    def submit_and_work(asked: Sequence[RewardRequest]) -> Future[Rewards]:
        future = submit(asked)
        process.work()
        return future

    process.submit = submit_and_work  # type: ignore[method-assign]
    rewarded: list[RewardedResponses] = []
    while not window.empty:
        rewarded += window.take(block=True)
    assert sorted(one.prompt.number for one in rewarded) == [0, 1, 2]
    assert all(one.rewards[0].value is not None for one in rewarded) and process.restarts == 1
    assert [(incident.kind, incident.data) for incident in told] == [
        ("rewarder_lost", {"reason": "it finished no call for 1200 s", "asked_again": 2, "given_up": []})
    ]


def test_a_prompt_that_freezes_the_process_each_time_stays_without_rewards() -> None:
    told: list[Incident] = []
    process, seconds = FakeProcess(), iter(range(0, 10**6, 400))
    window = Window(process, hung_s=1000, notice=told.append, clock=lambda: next(seconds))
    window.put(prompt(5))
    (rewarded,) = [one for _ in range(9) if not window.empty for one in window.take(block=True)]
    assert rewarded.rewards == (Reward(None, PROCESS_DIED),)
    assert [incident.data["given_up"] for incident in told] == [[], [5]]


def test_the_window_reports_what_the_process_is_working_on() -> None:
    process = FakeProcess()
    window = Window(process)
    assert str(window.at_work()) == "rewarder: nothing in flight, silent for 0 s"
    window.put(prompt(5))
    assert str(window.at_work()) == "rewarder: 1 prompts in flight (5), silent for 0 s"


def test_a_lost_machine_makes_no_prompt_a_suspect() -> None:
    told: list[Incident] = []
    process = FakeProcess(accidents=1)
    process.machine_lost = True
    window = Window(process, per_call=4, restarts=0, notice=told.append)
    for number in range(9):
        window.put(prompt(number))
    process.work()
    assert window.take(block=True) == [] and process.restarts == 1
    assert process.sizes == [1, 1, 4, 4], "no prompt is sent alone to find a culprit"
    assert [incident.kind for incident in told] == ["rewarder_lost"] and "machine was lost" in told[0].text


def test_nothing_is_sent_to_a_process_that_waits_for_a_machine_and_it_gives_up_after_a_while() -> None:
    clock = iter(range(0, 10_000, 10))
    process = FakeProcess()
    process.missing = "GPU 1 needed, 0 free at most"
    window = Window(process, room_s=60, clock=lambda: float(next(clock)))
    window.put(prompt(1))
    assert process.queue == [] and not window.empty
    with pytest.raises(NoRoomError, match=r"no machine has had room for the rewarder for \d+ s: GPU 1 needed"):
        window.take(block=True)
    process.missing = None
    window.take(block=False)
    assert process.sizes == [1]


def test_prompts_go_to_the_replica_with_the_fewest_and_leave_one_that_lost_its_machine() -> None:
    processes = [FakeProcess(), FakeProcess()]
    windows = [Window(process, per_call=2) for process in processes]
    for number in range(12):
        emptiest(windows).put(prompt(number))
    assert [window.load for window in windows] == [6, 6]
    processes[0].missing = "GPU 1 needed, 0 free at most"
    hand_over(windows)
    sent = 2
    assert [window.load for window in windows] == [sent, 10]
    assert emptiest(windows) is windows[1], "nothing new goes where no machine is"
    processes[0].missing, rewarded = None, list[RewardedResponses]()
    while not all(window.empty for window in windows):
        for process in processes:
            process.work()
        rewarded += take_from(windows, block=True)
    assert sorted(each.prompt.number for each in rewarded) == list(range(12))


def test_a_replica_without_a_machine_does_not_keep_the_others_from_their_work() -> None:
    processes = [FakeProcess(), FakeProcess()]
    processes[0].missing = "GPU 1 needed, 0 free at most"
    windows = [Window(process, per_call=2, room_s=0.5) for process in processes]
    for number in range(4):
        emptiest(windows).put(prompt(number))
    assert [window.load for window in windows] == [0, 4]
