"""The audit of a game on fakes: what is stored, and that a resumed run asks nothing twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eva.config import RunConfig
from eva.settings import Settings
from eva.types import PromptResponses, Request, Response, Reward, RewardedResponses
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from store.runs import runs
from store.session import Store
from store.views import statistics
from tests.support.fakes import Died, FakeGenerator, FakeRewarder, Recorder, always, fake_config, fake_roles


class Reversed:
    """Rewards the other way round, and counts the prompts that it is shown."""

    name = "reversed"

    def __init__(self) -> None:
        self.seen: list[tuple[int, str]] = []

    def reward(self, prompts: Iterable[PromptResponses]) -> Iterator[RewardedResponses]:
        for rewarded in FakeRewarder().reward(prompts):
            self.seen.append((rewarded.prompt.number, rewarded.prompt.responses[0].text))
            yield RewardedResponses(rewarded.prompt, tuple(Reward(-(one.value or 0)) for one in rewarded.rewards))


class Long(FakeRewarder):
    """Likes what is longer."""

    def reward(self, prompts: Iterable[PromptResponses]) -> Iterator[RewardedResponses]:
        for one in prompts:
            yield RewardedResponses(one, tuple(Reward(float(len(response.text))) for response in one.responses))


class Varied(FakeGenerator):
    """Answers of different lengths."""

    def _response(self, request: Request, sample: int, chance: float) -> Response:
        response = super()._response(request, sample, chance)
        return replace(response, text=response.text + "!" * (response.seed % 11))


class Parted(FakeRewarder):
    """Rewards with parts, as a judge has them."""

    def reward(self, prompts: Iterable[PromptResponses]) -> Iterator[RewardedResponses]:
        parts = {"cost_usd": 0.25, "disagreement": 0.5, "shown_first": 0.75, "shown_second": 0.5, "unreadable": 0.0}
        for rewarded in super().reward(prompts):
            yield RewardedResponses(
                rewarded.prompt,
                tuple(
                    Reward(one.value, None, tuple((name, Reward(value)) for name, value in parts.items()))
                    for one in rewarded.rewards
                ),
            )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, database_url=None, ray_address=None)


def audits(store: Store, run_id: int) -> dict[int, dict[str, Any]]:
    with store.transaction() as conn:
        return statistics.get_statistics(conn, run_id, "audit")


def test_each_iteration_stores_how_rewards_go_with_length_and_formatting(store: Store, settings: Settings) -> None:
    run = register_run(store, fake_config(iterations=2))
    drive(store, settings, run, Recorder(), build=always(fake_roles()), ttl_s=2.0)
    found = audits(store, run.id)
    assert sorted(found) == [0, 1]
    features = found[0]["features"]
    assert sorted(features) == sorted(["length", "lists", "headers", "bold"])
    # "right answer" is as long as "wrong answer": nothing to correlate but digits, and there is no formatting
    assert features["lists"] == {"raw": None, "within": None, "partial": None}
    assert "second" not in found[0] and "parts" not in found[0]


def test_a_second_rewarder_sees_a_sample_and_its_agreement_is_stored(store: Store, settings: Settings) -> None:
    config = fake_config(iterations=2, audit={"reward": {"kind": "mock"}, "prompts": 10})
    run, auditor = register_run(store, config), Reversed()
    drive(store, settings, run, Recorder(), build=always(fake_roles(auditor=auditor)), ttl_s=2.0)
    found = audits(store, run.id)
    assert len(auditor.seen) == 20
    for iteration in (0, 1):
        second = found[iteration]["second"]
        assert second["rewarder"] == "reversed"
        assert second["kendall"] == pytest.approx(-1) and second["spearman"] == pytest.approx(-1)
        assert second["pairs"] == 0 and 5 < second["prompts"] <= 10


def test_a_rewarder_with_a_taste_for_length_is_found_out_beside_an_auditor_without(
    store: Store, settings: Settings
) -> None:
    config = fake_config(iterations=1, audit={"reward": {"kind": "mock"}, "prompts": 10})
    run, roles = register_run(store, config), fake_roles(generator=Varied(), rewarder=Long(), auditor=Reversed())
    drive(store, settings, run, Recorder(), build=always(roles), ttl_s=2.0)
    found = audits(store, run.id)[0]
    assert found["verbosity"]["longer_wins"] == 1.0 and found["verbosity"]["correlation"] > 0.6
    assert found["verbosity"]["pairs"] == 24 * 6
    auditor = found["second"]["verbosity"]
    assert auditor["pairs"] == 10 * 6 and 0.2 < auditor["longer_wins"] < 0.8


def test_what_rewards_were_made_from_is_stored_and_summed_up(store: Store, settings: Settings) -> None:
    run = register_run(store, fake_config(iterations=1))
    drive(store, settings, run, Recorder(), build=always(fake_roles(rewarder=Parted())), ttl_s=2.0)
    found = audits(store, run.id)[0]
    assert found["parts"] == {"disagreement": 0.5, "shown_first": 0.75, "shown_second": 0.5, "unreadable": 0.0}
    assert found["position"] == {"disagreement": 0.5, "first": 0.25}
    assert found["cost_usd"] == pytest.approx(0.25 * 24 * RunConfig.model_validate(run.config).generation.n)


def test_an_interrupted_audit_goes_on_where_it_was(store: Store, settings: Settings) -> None:
    config = fake_config(iterations=1, audit={"reward": {"kind": "mock"}, "prompts": 24})
    run, auditor = register_run(store, config), Reversed()

    def stop(iteration: int, stage: str) -> None:
        if stage == "audit":
            raise Died

    with pytest.raises(Died):
        drive(store, settings, run, Recorder(on_close=stop), build=always(fake_roles(auditor=auditor)), ttl_s=0.2)
    before, first = audits(store, run.id), len(auditor.seen)
    with store.transaction() as conn:
        again = runs.get_run(conn, run.id)
    drive(store, settings, again, Recorder(), build=always(fake_roles(auditor=auditor)), ttl_s=2.0)
    assert len(auditor.seen) == first == 24
    assert audits(store, run.id) == before
