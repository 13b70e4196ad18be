"""Prompts by the figures of their responses: as computed from the responses themselves, sorted over all pages."""

from __future__ import annotations

import statistics
from collections import Counter
from typing import Any

import pytest

from eva.config import AgreementReward
from eva.seeds import generator
from eva.settings import Settings
from eva.types import Request, Response
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from store.session import Store
from tests.support.cli_fixtures import Played
from tests.support.fakes import FakeGenerator, Recorder, always, fake_config, fake_roles
from tests.support.service_fixtures import Served
from workers.rewards import build_rewarder

FIGURES = ("born", "reward", "margin", "length", "correlation", "success", "gain", "children")


def get(served: Served, path: str, **params: Any) -> Any:
    answer = served.client.get(f"/v1/runs/last/prompts{path}", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def walk(served: Served, **params: Any) -> list[Any]:
    items: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = get(served, "", limit=20, **params, **cursor)
        items += page["items"]
        if page["next"] is None:
            assert page["total"] == len(items)
            return items
        cursor = {"cursor": page["next"]}


@pytest.mark.parametrize("params", [{}, {"iteration": 1}, {"iteration": 2, "operator": "depth"}, {"info_min": 0.5}])
def test_every_order_gives_every_prompt_once_those_without_a_value_last(
    played_service: Served, played: Played, params: dict[str, Any]
) -> None:
    everything = {prompt["number"]: prompt for prompt in walk(played_service, **params)}
    for name in FIGURES:
        for sign in ("", "-"):
            found = walk(played_service, sort=f"{sign}{name}", **params)
            assert {prompt["number"]: prompt for prompt in found} == everything
            values = [prompt[name] for prompt in found]
            known = [value for value in values if value is not None]
            assert known == sorted(known, reverse=bool(sign)) == values[: len(known)]


def test_the_figures_are_those_of_the_responses_that_were_judged(played_service: Served) -> None:
    for prompt in get(played_service, "", iteration=2, sort="-correlation", limit=5)["items"]:
        responses = [
            response
            for response in get(played_service, f"/{prompt['number']}")["responses"]["items"]
            if response["checkpoint"] == prompt["checkpoint"]
        ]
        rewards = [response["rewards"][0]["value"] for response in responses]
        tokens = [float(response["tokens"]) for response in responses]
        assert prompt["reward"] == pytest.approx(statistics.fmean(rewards), abs=1e-8)
        assert prompt["margin"] == pytest.approx(max(rewards) - min(rewards), abs=1e-8)
        assert prompt["length"] == pytest.approx(statistics.fmean(tokens), abs=1e-8)
        assert prompt["correlation"] == pytest.approx(statistics.correlation(tokens, rewards), abs=1e-8)


def test_success_gain_and_children_are_those_of_the_stored_responses_and_prompts(played_service: Served) -> None:
    everything = walk(played_service)
    parents = Counter(prompt["parent"] for prompt in everything)
    assert all(prompt["children"] == parents[prompt["number"]] for prompt in everything) and len(parents) > 2
    threshold = served_success(played_service)
    gains = [prompt for prompt in get(played_service, "", sort="-gain")["items"] if prompt["gain"] is not None]
    assert gains
    for prompt in (gains[0], gains[-1], everything[0]):
        rewards: dict[int, list[float]] = {}
        for response in get(played_service, f"/{prompt['number']}")["responses"]["items"]:
            rewards.setdefault(response["checkpoint"], []).append(response["rewards"][0]["value"])
        judged = rewards[prompt["checkpoint"]]
        assert prompt["success"] == pytest.approx(sum(value >= threshold for value in judged) / len(judged))
        newest, first = statistics.fmean(rewards[max(rewards)]), statistics.fmean(rewards[min(rewards)])
        assert prompt["gain"] == (pytest.approx(newest - first) if len(rewards) > 1 else None)


def served_success(served: Served) -> float:
    return served.client.get("/v1/runs/last").json()["config"]["evaluation"]["success"]


class Voter(FakeGenerator):
    def _response(self, request: Request, sample: int, chance: float) -> Response:
        return Response(sample, f"it is {generator(request.seed + sample).randrange(3)}", "stop", 3, request.seed)


def test_a_vote_has_its_share_and_answer_and_sorts_the_prompts(
    store: Store, store_settings: Settings, served: Served
) -> None:
    reward = build_rewarder(AgreementReward(kind="agreement", low=0.75), local=True)
    run = register_run(store, fake_config(iterations=1, evaluation={}))
    drive(store, store_settings, run, Recorder(), build=always(fake_roles(generator=Voter(), rewarder=reward)))
    found = get(served, "", sort="-vote")["items"]
    shares = [prompt["vote"] for prompt in found]
    assert shares == sorted(shares, reverse=True) and len(set(shares)) > 1
    for prompt in (found[0], found[-1]):
        responses = get(served, f"/{prompt['number']}")["responses"]["items"]
        answers = [response["rewards"][0]["answer"] for response in responses]
        assert answers == [response["text"].split()[-1] for response in responses]
        (_, most), *_ = Counter(answers).most_common()
        assert prompt["vote"] == most / 4 and answers.count(prompt["answer"]) == most
    # below the band a prompt has no reward, but the vote and the answers are stored all the same
    assert found[-1]["vote"] < 0.75 and found[-1]["reward"] is None
