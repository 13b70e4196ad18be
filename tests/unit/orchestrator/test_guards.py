"""The creator's guards in the whole game: likeness and a guide enter the weights, and steering holds a collapse up."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from eva.settings import Settings
from eva.types import Context, GuideScore, Prompt
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from store.game import batches, evolutions, prompts
from store.rows import RunRow
from store.runs import events, runs
from store.session import Store
from store.views import statistics
from tests.support.cli_fixtures import Command
from tests.support.decisions import fingerprint_of
from tests.support.fakes import Died, FakeGenerator, FakeRewarder, Recorder, always, fake_config, fake_roles
from tests.support.service_fixtures import Served

GUARDED: dict[str, Any] = {
    "novelty": {"pull": 0.9},
    "evolving": {
        "evolver": {"kind": "playground"},
        "guide": {"function": "os.path:basename", "floor": 0.4},
        "breadth": 0.6,
    },
}
STEERED: dict[str, Any] = {"collapse": {"steer": {"effective_roots": 23.0}, "steering": {"levels": 2, "buffer": 0.2}}}


class Named(FakeRewarder):
    """Its rewards have the name that a replay looks for."""

    name = "mock"


class Opinion:
    """A guide that likes some texts more than others."""

    def score(self, text: str, context: Context, seed: int) -> GuideScore:
        return GuideScore(sum(map(ord, text)) % 11 / 10, 7, 3, 0.002)


def play(store: Store, settings: Settings, run: RunRow, **roles: Any) -> Recorder:
    with store.transaction() as conn:
        run = runs.get_run(conn, run.id)
    heard = Recorder()
    drive(store, settings, run, heard, build=always(fake_roles(guide=Opinion(), **roles)), ttl_s=2.0)
    return heard


def children_of(store: Store, run: RunRow) -> list[Prompt]:
    with store.transaction() as conn:
        return [prompt for prompt in prompts.read_prompts(conn, run.id) if prompt.parent is not None]


def test_likeness_and_guide_are_stored_enter_the_weights_and_sort_the_prompts(
    store: Store, store_settings: Settings, served: Served
) -> None:
    plain, guarded = (register_run(store, fake_config(**changes)) for changes in ({}, GUARDED))
    drive(store, store_settings, plain, Recorder(), build=always(fake_roles()))
    play(store, store_settings, guarded)
    assert all(child.likeness is None and child.guide is None for child in children_of(store, plain))
    children = {child.number: child for child in children_of(store, guarded)}
    assert all(
        child.likeness is not None and child.guide is not None and child.guide >= 0.4 for child in children.values()
    )
    assert len({child.likeness for child in children.values()}) > 5
    with store.transaction() as conn:
        attempts = [each for chain in evolutions.read_chains(conn, guarded.id, 1) for each in chain.attempts]
        rows = batches.read_estimates(conn, guarded.id, 2)
    refused = [attempt for attempt in attempts if attempt.reason == "guide"]
    assert refused and all(attempt.guide is not None and attempt.guide < 0.4 for attempt in refused)
    assert all(attempt.reply.cost_usd == pytest.approx(0.003) for attempt in refused), "the guide's cost counts"
    # of two prompts with one info, the one that repeats more has the smaller weight
    infos = {row.info for row in rows if row.info is not None}
    for info in infos:
        alike = [(factor(children.get(row.prompt)), row.weight) for row in rows if row.info == info]
        for (one, weight), (other, other_weight) in pairwise(alike):
            assert weight is not None and other_weight is not None
            assert weight / other_weight == pytest.approx(one / other)
    page = served.client.get(f"/v1/runs/{guarded.name}/prompts", params={"sort": "-likeness", "limit": 200}).json()
    values = [prompt["likeness"] for prompt in page["items"] if prompt["likeness"] is not None]
    assert values == sorted(values, reverse=True) and len(values) == len(children)


def factor(child: Prompt | None) -> float:
    if child is None or child.likeness is None or child.guide is None:
        return 1.0
    return max((1 - 0.9 * child.likeness) * child.guide, 1e-3)


def test_breadth_has_a_floor_that_is_stored(store: Store, store_settings: Settings) -> None:
    run = register_run(store, fake_config(**GUARDED))
    play(store, store_settings, run)
    with store.transaction() as conn:
        chosen = statistics.get_statistics(conn, run.id, "operator_choice")[1]
    assert {row["operator"]: row["probability"] for row in chosen} == pytest.approx({"deepening": 0.4, "breadth": 0.6})


def test_a_batch_that_crosses_a_bound_steers_the_next_iteration_and_says_so_everywhere(
    store: Store, store_settings: Settings, eva: Command
) -> None:
    run = register_run(store, fake_config(iterations=4, **STEERED))
    heard = play(store, store_settings, run, rewarder=Named())
    with store.transaction() as conn:
        steered = statistics.get_statistics(conn, run.id, "steering")
        diversity = statistics.get_statistics(conn, run.id, "diversity")
        told = [event for event in events.events_after(conn, run.id) if event.kind == "steered"]
    crossed = {iteration: figures["effective_roots"] < 23 for iteration, figures in diversity.items()}
    assert not crossed[0] and crossed[1], "the fake game loses roots as soon as the creator plays"
    assert [steered[iteration]["level"] for iteration in (1, 2, 3)] == [0, 1, 2 if crossed[2] else 0]
    assert steered[2]["why"][0]["figure"] == "effective_roots" and steered[2]["buffer"] == 0.2
    assert [event.iteration for event in told] == [i for i in (1, 2, 3) if steered[i]["level"]]
    buffers = {iteration: heard.counts[iteration, "mix"]["buffer"] for iteration in (1, 2)}
    assert buffers == {1: 4, 2: 9}, "a fifth of 24, then two fifths"
    shown = eva("show", run.name).output
    assert "iteration 2: steered at level 1 (effective_roots" in shown
    replayed = json.loads(eva("replay", run.name, "--json").output)
    for facts in replayed["iterations"]:
        assert facts["identical"]
        assert facts["steering"]["then"] == json.loads(json.dumps(facts["steering"]["now"]))
    assert "steered: level then 1, now 1" in eva("replay", run.name, "--iteration", "2").output


@pytest.mark.parametrize("die_after", [135, 150])
def test_a_guarded_run_that_is_killed_ends_like_an_undisturbed_one(
    store: Store, tmp_path: Path, die_after: int
) -> None:
    settings = Settings(data_dir=tmp_path, database_url=None, ray_address=None)
    calm, killed = (register_run(store, fake_config(iterations=4, **GUARDED, **STEERED)) for _ in range(2))
    play(store, settings, calm)
    with pytest.raises(Died):
        play(store, settings, killed, generator=FakeGenerator(die_after=die_after))
    play(store, settings, killed)
    assert fingerprint_of(store, calm).digest == fingerprint_of(store, killed).digest
    assert "guards" in {part.part for part in fingerprint_of(store, calm).parts}
    with store.transaction() as conn:
        steered = [statistics.get_statistics(conn, run.id, "steering") for run in (calm, killed)]
    assert steered[0] == steered[1] and any(row["level"] for row in steered[0].values())
