"""The judge behind LiteLLM against a server with faults."""

from __future__ import annotations

import re
from typing import Any

import pytest

from eva.config import JudgeReward
from eva.errors import ConfigError, JudgeError
from eva.types import PromptResponses, Response
from tests.support.openai_server import Body, Fault, OpenAIServer, completion, cut, malformed, status
from workers.evolvers import completions
from workers.rewards import build_rewarder
from workers.rewards.judge import JudgeModel
from workers.rewards.judge_prompts import CUT, NO_REPLY
from workers.rewards.model import RewardRequest

pytestmark = pytest.mark.usefixtures("event_loop")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries are not waited for."""
    monkeypatch.setattr(completions, "FIRST_PAUSE_S", 0.001)


def longer_wins(body: Body) -> str:
    """What a judge with a taste for length replies."""
    message = body["messages"][-1]["content"]
    mark = re.search(r"VERDICT (#\w+):", message)
    assert mark
    first, second = (
        len(message.split(f"{mark[1]} RESPONSE {name} BEGINS\n")[1].split(f"\n{mark[1]} RESPONSE")[0]) for name in "AB"
    )
    return f"Well.\n\nVERDICT {mark[1]}: {'A' if first > second else 'B'}"


def settings(server: OpenAIServer, **given: Any) -> JudgeReward:
    values = {"kind": "judge", "model": "openai/gpt-4o-mini", "api_base": server.api_base, "retries": 3}
    return JudgeReward.model_validate(values | given)


def answered(*texts: str) -> PromptResponses:
    return PromptResponses(0, "p", tuple(Response(place, text, "stop", 1, 0) for place, text in enumerate(texts)))


def test_wins_survive_faults_of_the_service() -> None:
    faults = [status(429), None, cut(), malformed(), None, status(500)]
    with OpenAIServer(longer_wins, faults=faults) as server:
        (rewarded,) = build_rewarder(settings(server), local=True).reward([answered("a", "bb", "ccc")])
        assert [reward.value for reward in rewarded.rewards] == [0.5 / 3, 1.5 / 3, 2.5 / 3]
        assert len(server.requests) == 6 + 4
        sent = server.requests[0].body
        assert (sent["temperature"], sent["max_tokens"]) == (0.0, 1024)
        cost = sum(dict(reward.parts)["cost_usd"].value or 0 for reward in rewarded.rewards)
        assert cost == pytest.approx(6 * (11 * 0.15e-6 + 7 * 0.6e-6))


@pytest.mark.parametrize(
    ("fault", "reason"), [(completion(None), NO_REPLY), (completion("VERDICT", finish="length"), CUT)]
)
def test_a_reply_without_a_text_or_a_cut_one_is_counted_and_not_asked_again(fault: Fault, reason: str) -> None:
    with OpenAIServer(longer_wins, faults=[fault, fault]) as server:
        model = JudgeModel(settings(server, concurrency=1))
        ((short, long),) = model.reward_many([RewardRequest("p", ("a", "bb"))], lambda: None)
        assert short.value is None and long.value is None
        assert (short.reason or "").endswith(reason)
        assert len(server.requests) == 2


def test_at_most_concurrency_calls_run_at_a_time() -> None:
    with OpenAIServer(longer_wins, latency_s=0.05) as server:
        model = JudgeModel(settings(server, concurrency=5))
        model.reward_many([RewardRequest("p", tuple("x" * n for n in range(1, 5)))] * 2, lambda: None)
        assert len(server.requests) == 24
        assert server.most_at_once == 5


def test_the_budget_stops_the_judge_before_it_is_overspent() -> None:
    price = 11 * 0.15e-6 + 7 * 0.6e-6
    with OpenAIServer(longer_wins) as server:
        model = JudgeModel(settings(server, max_cost_usd=3.5 * price, concurrency=1))
        with pytest.raises(JudgeError, match="max_cost_usd"):
            model.reward_many([RewardRequest("p", ("a", "bb", "ccc"))], lambda: None)
        assert len(server.requests) == 4


def test_a_service_that_stays_down_and_a_refused_key_speak_of_the_judge() -> None:
    with OpenAIServer(longer_wins, faults=[status(503)] * 4 + [status(401)]) as server:
        model = JudgeModel(settings(server, mode="rating"))
        with pytest.raises(JudgeError, match="the judge openai/gpt-4o-mini failed 4 times"):
            model.reward_many([RewardRequest("p", ("a",))], lambda: None)
        with pytest.raises(ConfigError, match="refused the judge's request") as refused:
            model.reward_many([RewardRequest("p", ("a",))], lambda: None)
        assert "evolv" not in str(refused.value)


def test_a_missing_key_is_refused_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    config = JudgeReward.model_validate({"kind": "judge", "model": "openai/gpt-4o-mini"})
    with pytest.raises(ConfigError, match="OPENAI_API_KEY is not set"):
        build_rewarder(config)
