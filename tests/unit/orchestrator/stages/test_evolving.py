"""Evolving in the whole game: who writes, what they are shown, what it may cost."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from eva.config import RunConfig
from eva.creator.operators import FAMILIES
from eva.errors import RunStoppedError
from eva.roles import Roles
from eva.settings import Settings
from eva.types import Chain, Mutation, Reply
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from orchestrator.stages.evolving import starvation
from store.game import evolutions, prompts
from store.rows import RunRow
from store.runs import events, runs
from store.session import Store
from store.views import statistics
from store.views.fingerprint import fingerprint
from tests.support.cli_fixtures import Command
from tests.support.fakes import Died, FakeEvolver, FakeGenerator, Recorder, always, fake_config, fake_roles
from workers.evolvers import build_evolver

SELF = {"kind": "self"}
Play = Callable[..., tuple[Recorder, list[Chain]]]


class Writing(FakeGenerator):
    """Continues what it is asked to rewrite with a word that depends on the seed alone; keeps the instructions."""

    def _answer(self, request: Any) -> Any:
        answered = super()._answer(request)
        if "rompt#" not in request.text:
            return answered
        words = request.text.rpartition("rompt#:\n")[0].strip().splitlines()[-1]
        response = answered.responses[0]
        text = f"{words} and {request.seed % 97}"
        return type(answered)(request.number, request.text, (type(response)(0, text, "stop", 4, request.seed),))


class Curious(FakeEvolver):
    """Keeps what it was asked."""

    operators = tuple(FAMILIES)

    def __init__(self) -> None:
        self.asked: list[Mutation] = []

    def evolve(self, mutation: Mutation) -> Reply:
        self.asked.append(mutation)
        return super().evolve(mutation)


@pytest.fixture
def new_run(store: Store) -> Callable[..., RunRow]:
    return lambda **evolving: register_run(store, fake_config(iterations=2, evolving={"evolver": SELF} | evolving))


@pytest.fixture
def play(store: Store, tmp_path: Path) -> Play:
    """Plays a run and returns what was heard, and the chains of iteration 1."""
    settings = Settings(data_dir=tmp_path, database_url=None, ray_address=None)

    def played(run: RunRow, roles: Roles, **listening: Any) -> tuple[Recorder, list[Chain]]:
        listener = Recorder(**listening)
        with store.transaction() as conn:
            run = runs.get_run(conn, run.id)
        drive(store, settings, run, listener, build=always(roles), ttl_s=2.0)
        with store.transaction() as conn:
            return listener, evolutions.read_chains(conn, run.id, 1)

    return played


def self_played(run: RunRow) -> Roles:
    generator = Writing()
    return fake_roles(
        generator=generator, evolver=build_evolver(RunConfig.model_validate(run.config).evolving, generator)
    )


def test_the_policy_writes_its_own_prompts_and_the_same_seed_writes_the_same(new_run: Any, play: Play) -> None:
    first, second = new_run(concurrency=7), new_run(concurrency=3)
    heard, chains = play(first, self_played(first))
    assert chains == play(second, self_played(second))[1]
    counts: Any = heard.counts[1, "evolve"]
    assert counts["accepted"] + counts["refused"].get("duplicate", 0) == sum(len(chain.accepted) for chain in chains)
    assert counts["accepted"] > 18


def test_a_run_whose_policy_writes_ends_the_same_when_it_is_killed_while_evolving(new_run: Any, play: Play) -> None:
    calm, killed = new_run(), new_run()
    roles = self_played(killed)
    assert isinstance(roles.generator, Writing)

    def arm(iteration: int, stage: str) -> None:
        if (iteration, stage) == (1, "sample"):
            roles.generator.die_after = 13  # type: ignore[attr-defined]

    with pytest.raises(Died):
        play(killed, roles, on_close=arm)
    assert play(killed, self_played(killed))[1] == play(calm, self_played(calm))[1]


def test_the_configs_operators_are_drawn_and_counted_with_what_each_cost(new_run: Any, play: Play) -> None:
    evolver = Curious()
    llm = {"kind": "evol_instruct", "model": "openai/m"}
    heard, chains = play(new_run(evolver=llm, operators=["mix", "persona"]), fake_roles(evolver=evolver))
    counts: Any = heard.counts[1, "evolve"]
    by_operator = counts["per_operator"]
    assert set(by_operator) == {"mix", "persona"} == {asked.operator for asked in evolver.asked}
    assert sum(one["asked"] for one in by_operator.values()) == len(evolver.asked)
    for key in ("tokens", "cost_usd"):
        assert sum(one[key] for one in by_operator.values()) == pytest.approx(counts[key])
    assert sum(one["accepted"] for one in by_operator.values()) == sum(len(chain.accepted) for chain in chains)
    mixed = [asked for asked in evolver.asked if asked.operator == "mix"]
    assert all(asked.partner is not None and asked.partner != asked.text for asked in mixed)


def test_feedback_is_the_best_and_worst_response_of_the_sampled_prompt(new_run: Any, play: Play, store: Store) -> None:
    evolver = Curious()
    run = new_run(evolver={"kind": "feedback", "writer": SELF})
    _, chains = play(run, fake_roles(evolver=evolver))
    seen = {asked.context for asked in evolver.asked}
    assert len(seen) == len(chains) == 6
    with store.transaction() as conn:
        texts = {prompt.text for prompt in prompts.read_prompts(conn, run.id, [chain.source for chain in chains])}
    for context in seen:
        assert context is not None and context.prompt in texts
        assert context.best_reward > context.worst_reward and context.best != context.worst
        assert (context.best_reward > 0.9) == context.best.startswith("right")
    assert all(asked.text.startswith(asked.context.prompt) for asked in evolver.asked if asked.context)


def test_a_budget_ends_the_stage_with_the_children_it_has_and_says_so(new_run: Any, play: Play) -> None:
    heard, chains = play(new_run(budget={"max_attempts": 11}), fake_roles())
    counts: Any = heard.counts[1, "evolve"]
    assert sum(len(chain.attempts) for chain in chains) == 11
    assert counts["budget_used_up"] is True and counts["not_asked"] > 10
    assert 0 < counts["accepted"] <= 11 and heard.counts[1, "mix"]["children"] == counts["accepted"]
    heard, _ = play(new_run(budget={"max_attempts": 1000}), fake_roles())
    assert (heard.counts[1, "evolve"]["budget_used_up"], heard.counts[1, "evolve"]["not_asked"]) == (False, 0)


def test_a_resumed_run_counts_what_was_spent_before(new_run: Any, play: Play, store: Store) -> None:
    class Mortal(FakeEvolver):
        left = 17

        def evolve(self, mutation: Mutation) -> Reply:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().evolve(mutation)

    run, rest = new_run(budget={"max_attempts": 20}, concurrency=1), Curious()
    with pytest.raises(KeyboardInterrupt):
        play(run, fake_roles(evolver=Mortal()))
    with store.transaction() as conn:
        before = sum(len(chain.attempts) for chain in evolutions.read_chains(conn, run.id, 1))
    _, chains = play(run, fake_roles(evolver=rest))
    assert 0 < before < 17
    assert len(rest.asked) == 20 - before
    assert sum(len(chain.attempts) for chain in chains) == 20


@pytest.mark.parametrize(
    ("refused", "says"),
    [
        ({"cut": 9, "empty": 1}, "Raise the evolver's max_tokens"),
        ({"too_long": 3}, "Raise evolving.max_chars"),
        ({"known": 3}, "docs/reference/evolvers.md"),
    ],
)
def test_where_every_child_was_refused_the_advice_fits_the_commonest_reason(refused: dict[str, int], says: str) -> None:
    evolving = fake_config().evolving
    starved = starvation({"accepted": 0, "refused": refused}, [], evolving)
    assert starved is not None and says in starved.advice and starved.reason == next(iter(refused))
    assert starvation({"accepted": 1, "refused": refused}, [], evolving) is None
    assert starvation({"accepted": 0, "refused": {}}, [], evolving) is None


class Refusing(FakeEvolver):
    """Apologises in one iteration and writes in the others."""

    def __init__(self, refuses: int) -> None:
        self.refuses, self.asked = refuses, 0

    def evolve(self, mutation: Mutation) -> Reply:
        self.asked += 1
        return Reply("I'm sorry, I cannot help with that.") if self.asked <= self.refuses else super().evolve(mutation)


def test_a_creator_without_an_accepted_child_pauses_the_run_and_says_why(
    store: Store, store_settings: Settings
) -> None:
    run = register_run(store, fake_config(iterations=3, evolving={"evolver": SELF, "per_prompt": 1, "attempts": 1}))
    sampled = 6  # a quarter of 24 prompts
    roles = fake_roles(evolver=Refusing(sampled))
    with pytest.raises(
        RunStoppedError, match=r"all 6 children were refused, 6 of them as 'apology', such as \"I'm sorry"
    ):
        drive(store, store_settings, run, Recorder(), build=always(roles))
    with store.transaction() as conn:
        assert runs.get_run(conn, run.id).status == "paused"
        (event,) = [event for event in events.events_after(conn, run.id) if event.kind == "starved"]
        runs.set_desired(conn, run.id, "run")
    assert event.data["reason"] == "apology" and event.data["example"].startswith("I'm sorry") and event.iteration == 1
    drive(store, store_settings, run, Recorder(), build=always(roles))
    with store.transaction() as conn:
        assert runs.get_run(conn, run.id).status == "finished"
        assert prompts.read_numbers_born(conn, run.id, 1, 1) == []
        assert prompts.read_numbers_born(conn, run.id, 2, 2) != []


def test_a_starved_creator_only_warns_if_the_config_says_so(store: Store, store_settings: Settings) -> None:
    evolving = {"evolver": SELF, "per_prompt": 1, "attempts": 1}
    run = register_run(store, fake_config(iterations=2, evolving=evolving, collapse={"starved": "warn"}))
    drive(store, store_settings, run, Recorder(), build=always(fake_roles(evolver=Refusing(99))))
    with store.transaction() as conn:
        assert runs.get_run(conn, run.id).status == "finished"
        assert [event.iteration for event in events.events_after(conn, run.id) if event.kind == "starved"] == [1]


class Dying(Recorder):
    """Dies when a stage of an iteration is closed."""

    def __init__(self, death: tuple[int, str]) -> None:
        super().__init__()
        self.death = death

    def on_stage_close(self, iteration: int, stage: str, counts: Mapping[str, object]) -> None:
        super().on_stage_close(iteration, stage, counts)
        if (iteration, stage) == self.death:
            raise Died


def play_with_bandit(store: Store, settings: Settings, *deaths: tuple[int, str]) -> RunRow:
    """Plays a run whose operators are chosen by the bandit; each death ends a driver at the close of a stage."""
    run = register_run(
        store, fake_config(iterations=4, evolving={"evolver": {"kind": "playground"}, "choice": "bandit"})
    )
    for death in deaths:
        with pytest.raises(Died):
            drive(store, settings, run, Dying(death), build=always(fake_roles()), ttl_s=0.5)
    drive(store, settings, run, Recorder(), build=always(fake_roles()))
    return run


def choices_of(store: Store, run: RunRow) -> dict[int, list[dict[str, Any]]]:
    with store.transaction() as conn:
        return statistics.get_statistics(conn, run.id, "operator_choice")


def test_a_bandit_chooses_the_same_after_deaths_and_by_replay(
    store: Store, store_settings: Settings, eva: Command
) -> None:
    whole = play_with_bandit(store, store_settings)
    killed = play_with_bandit(store, store_settings, (1, "pair"), (2, "sample"), (3, "evolve"))
    chosen = choices_of(store, whole)
    assert chosen == choices_of(store, killed)
    with store.transaction() as conn:
        assert fingerprint(conn, whole.id) == fingerprint(conn, killed.id)
    assert [*chosen] == [1, 2, 3]
    assert {row["probability"] for row in chosen[1]} == {0.5}  # nothing was known yet
    assert all(row["worth"] is not None and row["attempts"] > 0 for row in chosen[2])
    assert {row["probability"] for row in chosen[3]} != {0.5}
    facts = json.loads(eva("replay", killed.name, "--json").stdout)
    for one in facts["iterations"]:
        assert [row["then"] for row in one["operator_choice"]] == [row["probability"] for row in one["operator_choice"]]


def test_a_replay_says_what_the_bandit_would_have_chosen(store: Store, store_settings: Settings, eva: Command) -> None:
    run = register_run(store, fake_config(iterations=4))
    drive(store, store_settings, run, Recorder(), build=always(fake_roles()))
    assert choices_of(store, run) == {}
    shown = eva("replay", run.name, "--iteration", "3", "--choice", "bandit")
    assert "likely then" in shown.stdout and "50%" in shown.stdout
    (one,) = json.loads(eva("replay", run.name, "--iteration", "3", "--choice", "bandit", "--json").stdout)[
        "iterations"
    ]
    assert {row["then"] for row in one["operator_choice"]} == {0.5}
    assert {row["probability"] for row in one["operator_choice"]} != {0.5}
    assert "likely then" not in eva("replay", run.name, "--iteration", "3").stdout
