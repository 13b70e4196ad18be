"""A creator that learns, with real parts: its weights are proven when they are served, and a killed game ends alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from eva.config import RunConfig
from eva.roles import Roles
from eva.settings import Settings
from eva.types import Checkpoint
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from store.game import checkpoints, evolutions
from store.rows import RunRow
from store.runs import runs
from store.session import Store
from tests.support import tiny_models
from tests.support.decisions import fingerprint_of
from tests.support.fakes import Died, FakeRewarder, Recorder, always, fake_config
from workers.evolvers import build_evolver
from workers.fleet.fleet import Fleet, start_fleet
from workers.training.trainer import LocalTrainer

CONTEXT = 4096
"""The instructions with two responses are longer than the context of the tests' models."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's chat model. It writes letters at random: some children are cut, and the others differ in their worth."""
    folder = tiny_models.llama(tmp_path_factory.mktemp("model"))
    for name, key in (("config.json", "max_position_embeddings"), ("tokenizer_config.json", "model_max_length")):
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | {key: CONTEXT}))
    return folder


@pytest.fixture(scope="module")
def config(model: Path) -> RunConfig:
    """The creator alone learns, so that two trainings show two hand-overs."""
    evolver = {"kind": "trained", "feedback": True, "response_chars": 40, "max_tokens": 200}
    evolver |= {"training": {"batch": 8, "max_length": CONTEXT, "learning_rate": 1e-3}}
    return fake_config(
        model={"path": str(model)},
        prompts={"playground": 8},
        generation={"n": 3, "max_tokens": 24, "keep_cut": True},
        sampling={"fraction": 0.5},
        evolving={"evolver": evolver, "mode": "fan_out", "attempts": 1},
        mixing={"children": 1.0},
        training={"enabled": False},
        evaluation={"when": "never"},
        collapse={"starved": "warn"},
        fleet={"cpu_cache_gb": 0.25, "stall_s": 120.0},
    )


class Serving:
    """The engines, which remember what they were proven to serve."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet, self.served = fleet, list[Checkpoint]()
        self.generate, self.rest = fleet.generate, fleet.rest

    def load(self, policy: Checkpoint) -> None:
        self.fleet.load(policy)
        if self.served[-1:] != [policy]:
            self.served.append(policy)


@pytest.fixture(scope="module")
def engines(ray_cluster: Settings, model: Path, config: RunConfig) -> Iterator[Fleet]:
    logs, views = ray_cluster.logs_dir, ray_cluster.data_dir / "views-of-creators"
    with start_fleet(config, str(model), logs_dir=logs, views_dir=views) as started:
        yield started


@pytest.mark.timeout(900)
def test_a_creators_update_is_served_proven_and_a_killed_game_ends_like_an_undisturbed_one(
    store: Store, tmp_path: Path, config: RunConfig, engines: Fleet
) -> None:
    settings = Settings(tmp_path, None, None)
    undisturbed, killed = register_run(store, config), register_run(store, config)

    def play(run: RunRow, listener: Recorder | None = None) -> Serving:
        serving = Serving(engines)
        with store.transaction() as conn:
            row = runs.get_run(conn, run.id)
        with LocalTrainer(config, tmp_path, data_dir=tmp_path) as trainer:
            evolver = build_evolver(config.evolving, engines)
            roles = Roles(serving, FakeRewarder(), evolver, trainer, FakeRewarder())
            drive(store, settings, row, listener or Recorder(), build=always(roles))
        return serving

    serving = play(undisturbed)
    with store.transaction() as conn:
        first, second, third = checkpoints.read_checkpoints(conn, undisturbed.id, "creator")
        rewards = evolutions.read_creator_rewards(conn, undisturbed.id, 1)
    assert (first.number, second.number, third.number) == (0, 2, 3)
    assert len({first.digest, second.digest, third.digest}) == 3
    # each load ends with the canary's proof: what was served is what was trained
    assert [one.digest for one in serving.served if "/creator/" in one.path] == [first.digest, second.digest]
    assert any(one.advantage for one in rewards) and any(one.regret for one in rewards)

    def die(iteration: int, stage: str) -> None:
        if (iteration, stage) == (1, "train_creator"):
            raise Died

    with pytest.raises(Died):
        play(killed, Recorder(on_close=die))
    resumed = play(killed)
    assert [one.digest for one in resumed.served if "/creator/" in one.path] == [second.digest]
    assert fingerprint_of(store, killed) == fingerprint_of(store, undisturbed)
