"""Environments of the verifiers package, played with the package itself: data set, rollout, rubric."""

from __future__ import annotations

import atexit
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from eva.config import EnvironmentReward, Prompts
from eva.config.files import config_from_values, config_values, load_config
from eva.errors import ConfigError
from eva.settings import Settings
from eva.types import Message, Request, Response, Reward
from orchestrator.driver import drive
from orchestrator.launch.material import read_material
from orchestrator.launch.registration import register_run
from store.game import prompts
from store.runs import runs
from store.session import Store
from tests.support.decisions import fingerprint_of
from tests.support.fakes import Died, FakeGenerator, Recorder, always, fake_config, fake_roles
from workers.environments import read_environment
from workers.rewards import build_rewarder
from workers.rewards.environment import EnvironmentModel
from workers.rewards.model import RewardRequest

PAGE = (Path(__file__).parents[3] / "docs/extending/environments.md").read_text("utf-8")
(CODE,), (SETTINGS,) = (re.findall(rf"```{name}\n(.*?)```", PAGE, re.DOTALL) for name in ("python", "yaml"))

OTHERS = """
import asyncio
from pathlib import Path

import verifiers
from datasets import Dataset

ROWS = [
    {"question": "p", "answer": "a", "info": {"bonus": 2.0}},
    {"question": "q", "answer": "b", "info": {"bonus": 1.0}},
]


class Sums(verifiers.SingleTurnEnv):
    @verifiers.teardown
    async def note(self):
        with Path("torn").open("a") as file:
            file.write("x")


class Talk(verifiers.MultiTurnEnv):
    async def env_response(self, messages, state, **kwargs):
        return []


def load_environment(kind="plain"):
    async def with_info(completion, answer, info):
        if completion[0]["content"] == "raise":
            raise ZeroDivisionError("division by zero")
        if completion[0]["content"] == "slow":
            await asyncio.sleep(60)
        return info.get("bonus", 0.0) * (completion[0]["content"] == answer)

    def by_rank(completions):
        texts = [completion[0]["content"] for completion in completions]
        return [float(sorted(texts).index(text)) for text in texts]

    data = Dataset.from_list([*ROWS, {"question": " ", "answer": "", "info": {}}] if kind == "gap" else ROWS)
    if kind == "turns":
        return Talk(dataset=data, rubric=verifiers.Rubric(funcs=[with_info]), max_turns=3)
    funcs = [by_rank] if kind == "group" else [with_info]
    return Sums(dataset=data, rubric=verifiers.Rubric(funcs=funcs))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder, with two environments."""
    (tmp_path / "short_sums.py").write_text(CODE)
    (tmp_path / "other_sums.py").write_text(OTHERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def rewards(prompt: str, *responses: str, reference: str | None = None, **settings: Any) -> tuple[Reward, ...]:
    config = EnvironmentReward.model_validate({"kind": "environment", "id": "other-sums"} | settings)
    model = EnvironmentModel(config)
    try:
        (given,) = model.reward_many([RewardRequest(prompt, responses, (), reference)], lambda: None)
    finally:
        model.close()
    return given


class Sums(FakeGenerator):
    """Adds right, sometimes, and is sometimes brief."""

    def _response(self, request: Request, sample: int, chance: float) -> Response:
        numbers = [int(number) for number in re.findall(r"\d+", request.text)]
        text = f"{'It is surely ' * (sample % 3 == 1)}{sum(numbers) + sample % 2}"
        return Response(sample, text, "stop", 3, request.seed + sample)


def test_the_example_of_the_docs_plays_and_a_killed_run_ends_the_same(store: Store, folder: Path) -> None:
    sections = yaml.safe_load(SETTINGS)
    config = fake_config(iterations=2, evaluation={}, **sections)
    seeds = read_material(config).seeds
    assert len(seeds) == 32 and all(seed.context == (Message("system", "Answer briefly."),) for seed in seeds)
    assert all(str(sum(map(int, re.findall(r"\d+", seed.text)))) == seed.reference for seed in seeds)
    settings = Settings(data_dir=folder, database_url=None, ray_address=None)
    fingerprints: set[str] = set()
    for die_after in (None, 50):
        run = register_run(store, config)
        reward = build_rewarder(config.reward, local=True)
        if die_after is not None:
            roles = fake_roles(generator=Sums(die_after=die_after), rewarder=reward)
            with pytest.raises(Died):
                drive(store, settings, run, Recorder(), build=always(roles), ttl_s=2.0)
        with store.transaction() as conn:
            run = runs.get_run(conn, run.id)
        roles = fake_roles(generator=Sums(), rewarder=reward)
        drive(store, settings, run, Recorder(), build=always(roles), ttl_s=2.0)
        fingerprints.add(fingerprint_of(store, run).digest)
        reward.close()
    assert len(fingerprints) == 1
    with store.transaction() as conn:
        assert prompts.read_prompts(conn, run.id, [0])[0].reference == seeds[0].reference


def test_a_row_is_scored_with_its_info_and_another_prompt_with_its_reference(folder: Path) -> None:
    assert [reward.value for reward in rewards("p", "a", "b")] == [2.0, 0.0]
    assert dict(rewards("p", "a")[0].parts)["with_info"].value == 2.0
    (without,) = rewards("a child", "a")
    assert without.value is None and "no reference answer" in (without.reason or "")
    assert rewards("a child", "a", reference="a")[0].value == 0.0, "it has no info"
    assert rewards("a child", "a", needs_answer=False)[0].value == 0.0


def test_a_row_without_a_prompt_keeps_no_other_from_being_scored(folder: Path) -> None:
    assert [reward.value for reward in rewards("p", "a", args={"kind": "gap"})] == [2.0]


def test_a_function_that_fails_or_hangs_gives_a_reason_and_no_zero(folder: Path) -> None:
    first, failed, last = rewards("q", "b", "raise", "b")
    assert first.value == last.value == 1.0
    assert (failed.value, failed.reason) == (None, "with_info failed with ZeroDivisionError: division by zero")
    late, right = rewards("q", "slow", "b", timeout_s=0.3)
    assert (late.value, late.reason, right.value) == (None, "timed out after 0.3 s", 1.0)
    (empty,) = rewards("q", "")
    assert empty.value is None and "EmptyModelResponseError" in (empty.reason or "")


def test_functions_of_a_group_see_all_responses_to_a_prompt(folder: Path) -> None:
    assert [reward.value for reward in rewards("p", "b", "c", "a", args={"kind": "group"})] == [1.0, 2.0, 0.0]


def test_an_environment_takes_over_no_signal_and_nothing_at_the_end_and_is_torn_down_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[object] = []
    monkeypatch.setattr(atexit, "register", ends.append)
    kept = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    config = EnvironmentReward(kind="environment", id="other-sums")
    with ThreadPoolExecutor(1) as pool:  # where no handler of a signal can be set
        pool.submit(EnvironmentModel.check, config).result()
    read_environment(Prompts.model_validate({"environment": {"id": "other-sums"}}))
    EnvironmentModel(config).close()
    assert ends == [] and [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == kept
    assert (folder / "torn").read_text() == "xxx"


def test_tasks_can_be_topics_and_a_limit_holds(folder: Path) -> None:
    asked = Prompts.model_validate({"environment": {"id": "other-sums"}, "topic_field": "task", "limit": 1})
    (prompt,) = read_environment(asked).prompts
    assert (prompt.text, prompt.topic, prompt.reference) == ("p", "default", "a")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"id": "no-such-sums"}, "No module named 'no_such_sums'"),
        ({"id": "other-sums", "args": {"knd": 1}}, "unexpected keyword argument 'knd'"),
        ({"id": "other-sums", "args": {"kind": "turns"}}, "is a Talk, which may take several turns"),
    ],
)
def test_an_environment_that_cannot_be_played_is_refused(folder: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EnvironmentModel.check(EnvironmentReward.model_validate({"kind": "environment"} | settings))


def test_prompts_and_reward_are_of_one_environment() -> None:
    values = config_values("playground") | yaml.safe_load(SETTINGS)
    assert config_from_values(values, []).prompts.environment is not None
    with pytest.raises(ConfigError, match="give both the same id and args"):
        config_from_values(values, ["reward.args={size: 8}"])
    with pytest.raises(ConfigError, match="set exactly one of"):
        load_config("playground", ["prompts.environment={id: sums}"])
