"""The gate in the whole game: which children enter the mix, what a probe costs, and that nothing is asked twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from eva.config import Evolving
from eva.roles import Roles
from eva.settings import Settings
from eva.types import PromptResponses, Request, RewardedResponses
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from store.game import prompts, responses
from store.rows import RunRow
from store.runs import runs
from store.session import Store
from tests.support.decisions import read_batch
from tests.support.fakes import Died, FakeGenerator, FakeRewarder, Recorder, always, fake_config, fake_roles

BAND = {"responses": 2, "low": 0.5}


class Counting(FakeGenerator):
    """Keeps which samples of which prompt it was asked by which policy."""

    def __init__(self) -> None:
        super().__init__()
        self.samples: list[tuple[int, str, int]] = []

    def _answer(self, request: Request) -> PromptResponses:
        assert self.policy is not None
        if request.sampling.temperature == 0.7:
            self.samples += [
                (self.policy.number, request.text, sample) for sample in range(request.first, request.first + request.n)
            ]
        return super()._answer(request)


class Whole(FakeRewarder):
    """Keeps how many responses of a prompt came together, as a rewarder that compares them needs."""

    def __init__(self) -> None:
        self.sets: list[tuple[str, tuple[int, ...]]] = []

    def reward(self, prompts: Iterable[PromptResponses]) -> Iterator[RewardedResponses]:
        for rewarded in super().reward(prompts):
            one = rewarded.prompt
            self.sets.append((one.text, tuple(response.sample for response in one.responses)))
            yield rewarded


@pytest.fixture
def new_run(store: Store) -> Callable[..., RunRow]:
    def new(gate: dict[str, float] | None = BAND) -> RunRow:
        return register_run(
            store, fake_config(iterations=2, evolving={"evolver": {"kind": "playground"}, "gate": gate})
        )

    return new


@pytest.fixture
def play(store: Store, tmp_path: Path) -> Callable[..., Recorder]:
    settings = Settings(data_dir=tmp_path, database_url=None, ray_address=None)

    def played(run: RunRow, roles: Roles, **listening: Any) -> Recorder:
        listener = Recorder(**listening)
        with store.transaction() as conn:
            run = runs.get_run(conn, run.id)
        drive(store, settings, run, listener, build=always(roles), ttl_s=2.0)
        return listener

    return played


def batch(store: Store, run: RunRow) -> list[Any]:
    with store.transaction() as conn:
        return read_batch(conn, run.id, 1)


def test_only_children_whose_probe_shows_regret_inside_the_band_enter_the_mix(
    new_run: Any, play: Any, store: Store
) -> None:
    run = new_run()
    heard = play(run, fake_roles())
    counts = heard.counts[1, "gate"]
    with store.transaction() as conn:
        children = prompts.read_numbers_born(conn, run.id, 1, 1)
        probed = responses.read_reward_table(conn, run.id, 1, "mock (gate)", children, 2)
    gap_P = probed.rewards_P_N.max(axis=1) - probed.rewards_P_N.min(axis=1)
    regret = dict(zip(children, gap_P.tolist(), strict=True))
    mixed = [row.prompt for row in batch(store, run) if not row.buffer]
    inside = [number for number, value in regret.items() if value >= 0.5]
    assert 0 < len(mixed) <= len(inside) == counts["admitted"] < len(children)
    assert set(mixed) <= set(inside)
    refused = len(children) - len(inside)
    assert counts["refused"] == {"gate": refused} and counts["saved_responses"] == 2 * refused
    assert counts["probe_responses"] == 2 * len(children)


def test_a_judge_completes_a_probe_and_the_rewarder_sees_all_responses_together(new_run: Any, play: Any) -> None:
    run, generator, rewarder = new_run(), Counting(), Whole()
    heard = play(run, fake_roles(generator=generator, rewarder=rewarder))
    assert len(set(generator.samples)) == len(generator.samples), "a response was generated twice"
    probes = [text for text, samples in rewarder.sets if samples == (0, 1)]
    assert len(probes) == heard.counts[1, "gate"]["probe_responses"] / 2 > 0
    completed = [text for text, samples in rewarder.sets if samples == (0, 1, 2, 3)]
    assert len(set(completed) & set(probes)) == heard.counts[1, "mix"]["children"] > 0
    assert {samples for _, samples in rewarder.sets} == {(0, 1), (0, 1, 2, 3)}


def test_a_gate_that_lets_all_pass_decides_as_no_gate_does(new_run: Any, play: Any, store: Store) -> None:
    runs_ = new_run({"responses": 2, "low": 0.0}), new_run(None)
    heard = [play(run, fake_roles()) for run in runs_]
    assert batch(store, runs_[0]) == batch(store, runs_[1])
    assert heard[0].counts[1, "gate"]["refused"] == {} and (1, "gate") not in heard[1].counts


def test_a_run_killed_while_probing_ends_as_if_nothing_had_happened(new_run: Any, play: Any, store: Store) -> None:
    calm = new_run()
    play(calm, fake_roles())
    for asked in (4, 11, 19):
        killed, first = new_run(), Counting()

        def arm(iteration: int, stage: str, first: Counting = first, asked: int = asked) -> None:
            if (iteration, stage) == (1, "evolve"):
                first.die_after = asked

        with pytest.raises(Died):
            play(killed, fake_roles(generator=first), on_close=arm)
        play(killed, fake_roles(generator=Counting()))
        assert batch(store, calm) == batch(store, killed), f"killed at {asked}"


def test_a_band_that_holds_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="low <= high"):
        Evolving.model_validate({"evolver": {"kind": "playground"}, "gate": {"low": 2, "high": 1}})
