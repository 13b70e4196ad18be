"""An average that is worse than the runs it is made of is told from one that is not."""

import pytest

from eva.settings import Settings
from eva.types import Checkpoint, Player
from orchestrator.averaging import SharedSet, evaluate_average, shared_sets
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from store.game import heldout
from store.rows import RunRow
from store.session import Store
from tests.support.cli_fixtures import Command
from tests.support.fakes import (
    FakeGenerator,
    FakeRewarder,
    PublishingTrainer,
    Recorder,
    always,
    fake_config,
    fake_roles,
)


def play(store: Store, settings: Settings, seed: int, prompts: int = 30) -> RunRow:
    config = fake_config(name=f"seed{seed}", seed=seed, iterations=1, evaluation={"playground": prompts})
    run = register_run(store, config)
    drive(store, settings, run, Recorder(), build=always(fake_roles(trainer=PublishingTrainer())))
    return run


def sets_of(store: Store, *runs: RunRow) -> list[SharedSet]:
    with store.transaction() as conn:
        return shared_sets(conn, {run.name: (run.id, 1) for run in runs})


def test_an_average_is_compared_with_the_runs_prompt_by_prompt(store: Store, store_settings: Settings) -> None:
    one, other = (play(store, store_settings, seed) for seed in (1, 2))
    sets = sets_of(store, one, other)
    assert [each.name for each in sets] == ["easy", "hard", "medium"]
    verdicts = {}
    for skill in (0, 500):
        policy = Checkpoint(0, 0, f"average/skill-{skill}", "")
        outcomes = evaluate_average(sets, policy, 64, FakeGenerator(), FakeRewarder())
        for outcome in outcomes:
            rewards = next(list(each.rewards.values()) for each in sets if each.name == outcome.name)
            mean = sum(sum(of_run.values()) for of_run in rewards) / 60
            assert outcome.items == 30
            assert outcome.difference == pytest.approx(outcome.average - mean)
        verdicts[skill] = [outcome.worse for outcome in outcomes]
    assert verdicts == {0: [True] * 3, 500: [False] * 3}


def test_only_sets_that_all_runs_share_are_compared(store: Store, store_settings: Settings) -> None:
    one, fewer = play(store, store_settings, 1), play(store, store_settings, 2, prompts=20)
    assert sets_of(store, one, fewer) == []
    with store.transaction() as conn:
        names = heldout.heldout_splits(conn, one.id)
        assert shared_sets(conn, {"one": (one.id, 1), "no such checkpoint": (one.id, 9)}) == []
    assert [each.name for each in sets_of(store, one)] == names


def test_one_run_or_runs_of_different_models_are_refused(store: Store, store_settings: Settings, eva: Command) -> None:
    one = play(store, store_settings, 1, prompts=1)
    alone = eva("checkpoints", "average", one.name, one.name, "--out", "mean")
    assert alone.exit_code == 2 and "two different runs or more" in alone.stderr

    class OtherModel(PublishingTrainer):
        def publish_initial(self, folder: str, player: Player = "solver") -> Checkpoint:
            return self._published(Checkpoint(0, 0, f"{folder}/skill-1", "another"))

    other = register_run(store, fake_config(name="other", iterations=1, evaluation={"playground": 1}))
    drive(store, store_settings, other, Recorder(), build=always(fake_roles(trainer=OtherModel())))
    refused = eva("checkpoints", "average", one.name, other.name, "--out", "mean")
    assert refused.exit_code == 3 and "started from different models" in refused.stderr
