"""The rewarder in its Ray actor: it streams, and survives what users' functions do to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from eva.config import JudgeReward, MockReward, VerifierReward
from eva.errors import ConfigError, JudgeError, RewarderDiedError
from eva.types import PromptResponses, Response, Reward
from workers.rewards import REWARDERS, build_rewarder
from workers.rewards.actor import ActorRewarder
from workers.rewards.model import PROCESS_DIED

pytestmark = pytest.mark.usefixtures("ray_cluster")

Build = Callable[..., ActorRewarder]

FUNCTIONS = """
import asyncio, collections, ctypes, itertools, os, time

def length(prompt, response):
    return float(len(response))

def fragile(prompt, response):
    if response == "exit":
        os._exit(1)
    if response == "segfault":
        ctypes.string_at(0)
    if response == "hold":
        collections.deque(itertools.count(), maxlen=0)
    if response == "sleep":
        time.sleep(120)
    if response == "raise":
        raise KeyError("x")
    return float(len(response))

async def blocking(prompt, response):
    if response == "block":
        collections.deque(itertools.count(), maxlen=0)
    await asyncio.sleep(0)
    return float(len(response))

def dies(prompt, response):
    os._exit(1)
"""


def answered(number: int, *responses: str) -> PromptResponses:
    texts = responses or ("a" * (number % 7), "bb")
    return PromptResponses(
        number, f"prompt {number}", tuple(Response(i, text, "stop", 1, 0) for i, text in enumerate(texts))
    )


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Build]:
    """Builds actor rewarders for the functions above, found in the working directory."""
    # Each test has a module of its own name: Python keeps those that it has imported.
    module = f"functions_{abs(hash(tmp_path))}"
    (tmp_path / f"{module}.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    built: list[ActorRewarder] = []

    def build(function: str, timeout_s: float = 60) -> ActorRewarder:
        config = VerifierReward.model_validate(
            {"kind": "verifier", "function": f"{module}:{function}", "timeout_s": timeout_s, "first_call_s": timeout_s}
        )
        rewarder = build_rewarder(config)
        assert isinstance(rewarder, ActorRewarder)
        built.append(rewarder)
        return built[-1]

    yield build
    for rewarder in built:
        rewarder.close()


def test_every_prompt_comes_back_with_its_rewards(build: Build) -> None:
    prompts = [answered(number) for number in range(500)]
    rewarded = {one.prompt.number: one for one in build("length").reward(iter(prompts))}
    assert sorted(rewarded) == list(range(500))
    for number, one in rewarded.items():
        assert one.prompt is prompts[number]
        assert one.rewards == (Reward(float(number % 7)), Reward(2.0))


def test_rewards_stream_while_prompts_are_still_being_answered(build: Build) -> None:
    rewarder, pulled = build("length"), 0

    def endless() -> Iterator[PromptResponses]:
        nonlocal pulled
        while True:
            yield answered(pulled)
            pulled += 1

    rewarded = rewarder.reward(endless())
    assert isinstance(rewarded, Generator)
    for _ in range(1000):
        next(rewarded)
        assert pulled < 1000 + 3 * 32 + 1
    rewarded.close()
    assert len(list(rewarder.reward([answered(1)]))) == 1


def test_prompts_without_responses_pass_through(build: Build) -> None:
    failed = PromptResponses(7, "p", (), failure="too long")
    (rewarded,) = build("length").reward([failed])
    assert (rewarded.prompt, rewarded.rewards) == (failed, ())


@pytest.mark.parametrize("death", ["exit", "segfault"])
def test_a_prompt_that_kills_the_process_stays_unrewarded_and_it_alone(build: Build, death: str) -> None:
    prompts = [answered(number) if number != 60 else answered(60, "good", death) for number in range(120)]
    rewarded = {one.prompt.number: one.rewards for one in build("fragile").reward(prompts)}
    assert sorted(rewarded) == list(range(120))
    assert rewarded.pop(60) == (Reward(None, PROCESS_DIED),) * 2
    assert all(reward.value is not None for rewards in rewarded.values() for reward in rewards)


def test_a_hanging_call_costs_one_response_and_no_process(build: Build) -> None:
    prompts = [answered(0), answered(1, "good", "sleep", "raise", "good"), answered(2)]
    rewarded = {one.prompt.number: one.rewards for one in build("fragile", 0.3).reward(prompts)}
    assert rewarded[1] == (
        Reward(4.0),
        Reward(None, "timed out after 0.3 s"),
        Reward(None, "KeyError: 'x'"),
        Reward(4.0),
    )
    assert rewarded[0] == (Reward(0.0), Reward(2.0))


@pytest.mark.parametrize(("function", "hang"), [("fragile", "hold"), ("blocking", "block")])
def test_a_call_that_no_signal_stops_is_ended_by_the_watchdog(build: Build, function: str, hang: str) -> None:
    # The hanging function loops in C, holds the interpreter's lock and looks at no signal.
    rewarded = {
        one.prompt.number: one.rewards
        for one in build(function, 0.3).reward([answered(0), answered(1, "good", hang), answered(2)])
    }
    assert rewarded[1] == (Reward(None, PROCESS_DIED),) * 2
    assert rewarded[0] == (Reward(0.0), Reward(2.0))
    assert rewarded[2] == (Reward(2.0), Reward(2.0))


def test_a_process_that_always_dies_ends_the_stage_with_the_next_move(build: Build) -> None:
    rewarder = build("dies")
    short = ActorRewarder(rewarder.name, "workers.rewards.verifier:VerifierModel", rewarder._config, restarts=1)
    with pytest.raises(RewarderDiedError, match="Call your reward function by hand"):
        list(short.reward(answered(number) for number in range(50)))
    short.close()


def test_a_reward_model_that_cannot_be_built_in_the_actor_says_why() -> None:
    config = VerifierReward.model_validate({"kind": "verifier", "function": "no_such_module_anywhere:f"})
    rewarder = ActorRewarder("x", "workers.rewards.verifier:VerifierModel", config)
    with pytest.raises(ConfigError, match="no_such_module_anywhere") as refused:
        list(rewarder.reward([answered(1)]))
    assert "ray::" not in str(refused.value)
    rewarder.close()


def test_the_actor_rewards_as_the_local_rewarder_does() -> None:
    config = MockReward.model_validate({"kind": "mock", "noise": 0.1, "failure_rate": 0.1})
    prompts = [answered(number) for number in range(100)]
    there, here = ActorRewarder("mock", REWARDERS["mock"], config), build_rewarder(config, local=True)
    by_number = {one.prompt.number: one.rewards for one in there.reward(prompts)}
    assert by_number == {one.prompt.number: one.rewards for one in here.reward(prompts)}
    assert not any(math.isnan(reward.value) for row in by_number.values() for reward in row if reward.value)
    there.close()


def test_a_judge_whose_budget_is_spent_asks_nothing_after_a_restart() -> None:
    # nothing listens there: whoever asks hears of that instead
    config = JudgeReward.model_validate(
        {"kind": "judge", "model": "openai/m", "api_base": "http://127.0.0.1:1", "max_cost_usd": 1, "retries": 0}
    )
    rewarder = ActorRewarder("judge", REWARDERS["judge"], config, spent={"cost_usd": 1.5})
    with pytest.raises(JudgeError, match=r"has cost 1\.5000 US dollars"):
        list(rewarder.reward([answered(1)]))
    rewarder.close()
