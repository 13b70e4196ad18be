"""A bounded window of prompts in flight to a process that may die. It uses futures and does not depend on Ray.

Prompts are sent in small groups, which grow under load. When the process dies, the prompts of the call that it was
working on become suspects: each is sent alone. So the prompt that kills the process is found, and only that prompt
stays without rewards.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Protocol

from eva.errors import NoRoomError, RewarderDiedError
from eva.runtime.worker_reports import Incident, IncidentListener, WorkerStatus, describe_in_flight, ignore_incident
from eva.types import PromptResponses, Reward, RewardedResponses
from workers.rewards.local import reward_request
from workers.rewards.model import PROCESS_DIED, RewardRequest, reason

Rewards = list[tuple[Reward, ...]]

_POLL_S = 1.0
_ROOM_POLL_S = 0.2
_DEATHS_ALONE = 2
"""A prompt is to blame if the process died this often while working on it alone."""


class Process(Protocol):
    """A process that handles its calls one after the other, in the order in which they were submitted."""

    @property
    def died(self) -> tuple[type[BaseException], ...]:
        """What a future raises if the process died, as opposed to an error of the reward model."""
        ...

    def submit(self, requests: Sequence[RewardRequest]) -> Future[Rewards]: ...

    def restart(self) -> None:
        """Drop everything in flight and start again, as soon as a machine has room."""
        ...

    def missing_room(self) -> str | None:
        """Returns what no machine has free for the process, or None if it has a place."""
        ...

    def lost_machine(self, error: BaseException) -> bool:
        """Whether the process was lost with its machine, so that no prompt is to blame."""
        ...


@dataclass(frozen=True, slots=True)
class _Call:
    prompts: tuple[PromptResponses, ...]
    deaths: int = 0


class Window:
    """Prompts in flight through a process: at most `per_call` x (`calls` + 1).

    Args:
        per_call: the most prompts in one call.
        calls: calls in flight; one waits in the process's queue while another runs.
        restarts: deaths in a row, with no prompt rewarded in between, before it gives up.
        hung_s: seconds without a finished call after which the process counts as dead; a frozen process is found so.
        room_s: seconds without a machine that has room for the process after which it gives up.
        notice: called at each death.
    """

    def __init__(
        self,
        process: Process,
        *,
        per_call: int = 32,
        calls: int = 2,
        restarts: int = 10,
        hung_s: float = 1800.0,
        room_s: float = 900.0,
        notice: IncidentListener = ignore_incident,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._process, self._per_call, self._max_calls, self._restarts = process, per_call, calls, restarts
        self._hung_s, self._room_s, self._notice, self._clock = hung_s, room_s, notice, clock
        self._silent_s = self._roomless_s = 0.0
        self._waiting: deque[PromptResponses] = deque()
        self._suspects: deque[_Call] = deque()
        self._calls: dict[Future[Rewards], _Call] = {}
        self._deaths_in_a_row = 0

    @property
    def full(self) -> bool:
        return len(self._waiting) >= self._per_call

    @property
    def empty(self) -> bool:
        return not (self._waiting or self._suspects or self._calls)

    @property
    def load(self) -> int:
        """The number of prompts in the window."""
        return len(self._waiting) + sum(len(call.prompts) for call in (*self._suspects, *self._calls.values()))

    @property
    def calls(self) -> tuple[Future[Rewards], ...]:
        """The calls in flight."""
        return tuple(self._calls)

    @property
    def hung(self) -> bool:
        """Whether the process has been silent for too long."""
        return bool(self._calls) and self._silent_s > self._hung_s

    @property
    def sendable(self) -> bool:
        """Whether prompts wait although the process has a place and no call."""
        return not self._calls and not self.empty and not self.without_room

    @property
    def without_room(self) -> bool:
        """Whether no machine has room for the process."""
        return self._process.missing_room() is not None

    def put(self, prompt: PromptResponses) -> None:
        """Adds one prompt. Before the next one, call `take` until the window is no longer full."""
        self._waiting.append(prompt)
        self._send()

    def withdraw(self) -> list[PromptResponses]:
        """Takes back the prompts that are not sent yet."""
        prompts = [*self._waiting]
        self._waiting.clear()
        return prompts

    def take(self, *, block: bool) -> list[RewardedResponses]:
        """Returns what is done. With `block` it first waits until a call has ended.

        Raises RewarderDiedError, NoRoomError, and whatever the reward model raised.
        """
        return take_from([self], block=block, clock=self._clock)

    def collect(self) -> list[RewardedResponses]:
        """Returns what is done, without waiting. Raises as `take` does."""
        rewarded: list[RewardedResponses] = []
        if self.hung:
            rewarded += self._give_up_on_first()
        for future in [future for future in self._calls if future.done()]:
            if future in self._calls:  # a death in this loop empties the window
                rewarded += self._end(future)
        self._send()
        return rewarded

    def wait(self, seconds: float) -> None:
        """Counts seconds during which the caller waited and nothing ended. A slow caller's own time is left out.

        Raises NoRoomError when no machine has had room for the process for too long.
        """
        missing = self._process.missing_room()
        if missing is None:
            self._roomless_s = 0.0
            self._silent_s += seconds if self._calls else 0.0
            return
        self._roomless_s += seconds
        if self._roomless_s > self._room_s:
            raise NoRoomError(
                f"no machine has had room for the rewarder for {self._roomless_s:.0f} s: {missing}",
                expected="a machine in the cluster with enough resources (reward.gpus)",
                next_move="Add machines to the cluster or free some, then resume the run",
            )

    def at_work(self, name: str = "rewarder") -> WorkerStatus:
        """Returns what the process is working on. Safe to call from another thread."""
        prompts = [prompt.number for call in tuple(self._calls.values()) for prompt in call.prompts]
        return WorkerStatus(name, describe_in_flight(prompts), self._silent_s)

    def _give_up_on_first(self) -> list[RewardedResponses]:
        """Calls are handled in order, so the process hangs in the first one."""
        call = self._calls.pop(next(iter(self._calls)))
        return self._handle_death(call, TimeoutError(f"it finished no call for {self._silent_s:.0f} s"))

    def _end(self, future: Future[Rewards]) -> list[RewardedResponses]:
        self._silent_s = 0.0
        call = self._calls.pop(future)
        try:
            rewards = future.result()  # bounded: it is done
        except self._process.died as error:
            if self._process.lost_machine(error):
                self._handle_lost_machine(call, error)
                return []
            return self._handle_death(call, error)
        self._deaths_in_a_row = 0
        return [RewardedResponses(prompt, rewards) for prompt, rewards in zip(call.prompts, rewards, strict=True)]

    def _handle_lost_machine(self, call: _Call, error: BaseException) -> None:
        lost = [call, *self._calls.values()]
        prompts = [one for each in lost for one in each.prompts]
        self._notice(
            Incident(
                "rewarder_lost",
                f"the rewarder's machine was lost; {len(prompts)} prompts are rewarded again",
                {"reason": reason(str(error)), "asked_again": len(prompts), "given_up": []},
            )
        )
        self._waiting.extendleft(reversed(prompts))
        self._calls.clear()
        self._silent_s = self._roomless_s = 0.0
        self._process.restart()

    def _handle_death(self, call: _Call, error: BaseException) -> list[RewardedResponses]:
        self._deaths_in_a_row += 1
        self._silent_s = 0.0
        self._tell(call, reason(str(error) or type(error).__name__))
        if self._deaths_in_a_row > self._restarts:
            raise _given_up(self._deaths_in_a_row, error) from error
        # Later calls had not begun, so their prompts are not suspects.
        for other in reversed(self._calls.values()):
            self._waiting.extendleft(reversed(other.prompts))
        self._calls.clear()
        self._process.restart()
        if len(call.prompts) > 1:
            self._suspects.extend(_Call((prompt,)) for prompt in call.prompts)
            return []
        if call.deaths + 1 < _DEATHS_ALONE:
            self._suspects.appendleft(_Call(call.prompts, call.deaths + 1))
            return []
        died = Reward(None, PROCESS_DIED)
        return [RewardedResponses(culprit, (died,) * len(culprit.responses)) for culprit in call.prompts]

    def _tell(self, call: _Call, why: str) -> None:
        lost = [prompt.number for each in (call, *self._calls.values()) for prompt in each.prompts]
        given_up = len(call.prompts) == 1 and call.deaths + 1 >= _DEATHS_ALONE
        again = len(lost) - given_up
        text = f"the rewarder's process is being replaced: {why}; {again} prompts are rewarded again"
        text += f", prompt {lost[0]} stays without rewards" if given_up else ""
        self._notice(
            Incident(
                "rewarder_lost", text, {"reason": why, "asked_again": again, "given_up": [lost[0]] if given_up else []}
            )
        )

    def _send(self) -> None:
        if not (self._waiting or self._suspects) or self._process.missing_room() is not None:
            return
        if self._suspects:
            if not self._calls:
                self._submit(self._suspects.popleft())
            return
        while self._waiting and len(self._calls) < self._max_calls:
            size = min(self._per_call, len(self._waiting))
            self._submit(_Call(tuple(self._waiting.popleft() for _ in range(size))))

    def _submit(self, call: _Call) -> None:
        self._calls[self._process.submit([reward_request(prompt) for prompt in call.prompts])] = call


def emptiest(windows: Sequence[Window]) -> Window:
    """Returns the window with the fewest prompts; one whose process has no machine only if none has."""
    return min(windows, key=lambda window: (window.without_room, window.load))


def hand_over(windows: Sequence[Window]) -> None:
    """Moves what waits for a process without a machine to processes that have one."""
    lost = [window for window in windows if not window.empty and window.without_room]
    others = [window for window in windows if window not in lost and not window.without_room]
    for prompt in [prompt for window in lost for prompt in window.withdraw()] if others else []:
        emptiest(others).put(prompt)


def take_from(
    windows: Sequence[Window], *, block: bool, clock: Callable[[], float] = time.monotonic
) -> list[RewardedResponses]:
    """Returns what is done in any of the windows. With `block` it first waits until a call in one of them has ended."""
    while block and not all(window.empty for window in windows):
        calls, began = [call for window in windows for call in window.calls], clock()
        if calls:
            ended = wait(calls, timeout=_POLL_S, return_when=FIRST_COMPLETED).done
        else:
            time.sleep(_ROOM_POLL_S)  # bounded: the windows count the time without room
            ended = set[Future[Rewards]]()
        for window in windows:
            if not window.empty and ended.isdisjoint(window.calls):
                window.wait(clock() - began)
        if ended or any(window.hung or window.sendable for window in windows):
            break
    return [one for window in windows for one in window.collect()]


def _given_up(deaths: int, error: BaseException) -> RewarderDiedError:
    return RewarderDiedError(
        f"the rewarder's process died {deaths} times in a row: {reason(str(error))}",
        expected="a reward model that stays alive for most prompts",
        next_move="Call your reward function by hand with a prompt and a response, and watch its memory",
    )
