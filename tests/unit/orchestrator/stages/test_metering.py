"""A stage counts what its workers did meanwhile: the engines' time, what could not be answered, what was paid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import pytest

from eva.config import Audit
from eva.settings import Settings
from eva.types import PromptResponses, Request, Reward, RewardedResponses
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from orchestrator.watch.listener import NoListener
from store.runs.stages import read_stages
from store.session import Store
from store.views.costs import iteration_cost
from tests.support.fakes import FakeGenerator, FakeRewarder, always, fake_config, fake_roles


@dataclass
class Metered(FakeGenerator):
    """Takes 10 ms for each answer, of which it is busy 7."""

    answers: int = 0

    def generate(self, requests: Iterable[Request]) -> Iterator[PromptResponses]:
        for answered in super().generate(requests):
            self.answers += 1
            yield answered

    def readings(self) -> dict[str, int]:
        return {"engine_ms": 10 * self.answers, "engine_busy_ms": 7 * self.answers}


class Paid(FakeRewarder):
    """Asks for a cent per response, some of it by way of a member."""

    def reward(self, prompts: Iterable[PromptResponses]) -> Iterator[RewardedResponses]:
        for one in super().reward(prompts):
            yield replace(
                one,
                rewards=tuple(
                    replace(
                        reward,
                        parts=(("cost_usd", Reward(0.004)), ("judge/cost_usd", Reward(0.006)), ("judge", Reward(0.5))),
                    )
                    for reward in one.rewards
                ),
            )


def test_stages_count_engine_time_quarantines_and_money(store: Store, store_settings: Settings) -> None:
    config = fake_config(iterations=2, audit=Audit(reward=fake_config().reward, prompts=3).model_dump())
    run, engines = register_run(store, config), Metered(unanswerable=frozenset({5}))
    second = Paid()
    second.name = "second"
    roles = fake_roles(generator=engines, rewarder=Paid(), evaluator=Paid(), auditor=second)
    drive(store, store_settings, run, NoListener(), build=always(replace(roles, meter=engines.readings)))
    with store.transaction() as conn:
        stages = {(row.iteration, row.name): row.counts for row in read_stages(conn, run.id)}
        paid = [iteration_cost(conn, run.id, iteration) for iteration in (0, 1)]
    first = stages[0, "judge_batch"]
    assert first["quarantined"] == 1 and "quarantined" not in stages[0, "evaluate"]
    assert (first["engine_ms"], first["engine_busy_ms"]) == (240, 168)
    assert sum(counts.get("engine_ms", 0) for counts in stages.values()) == 10 * engines.answers
    assert not {"engine_ms", "cost_usd"} & {*stages[0, "pair"], *stages[0, "train"]}
    assert first["cost_usd"] == pytest.approx(0.01 * first["responses"])
    for iteration, cost in enumerate(paid):
        told = {
            name: counts["cost_usd"]
            for (of, name), counts in stages.items()
            if of == iteration and "cost_usd" in counts
        }
        evaluated = told.pop("evaluate") + told.pop("evaluate_initial", 0)
        assert evaluated == pytest.approx(cost["held_out"])
        assert told.pop("evolve", 0) == pytest.approx(cost["evolving"])
        assert sum(told.values()) == pytest.approx(cost["rewards"])
