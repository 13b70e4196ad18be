"""Every loss plays an iteration of the playground: real engine, real rewards, real training, one fleet for all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from eva.config import RunConfig
from eva.config.files import load_config
from eva.roles import Roles
from eva.settings import Settings
from eva.solver.losses import LOSSES
from eva.types import Checkpoint, Player, PromptResponses, Request, TrainingJob, TrainingResult, TrainingStep
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from store.game import checkpoints
from store.game.pairs import read_pairs
from store.session import Store
from tests.support.fakes import Recorder
from workers.evolvers import build_evolver
from workers.fleet.fleet import Fleet, start_fleet
from workers.models.model_folder import resolve_model
from workers.rewards import build_rewarder

SMALL = ["prompts.playground=128", "iterations=1", "evaluation.playground=null", "training.batch=8"]
SETTINGS: dict[str, list[str]] = {
    "rdpo": ["training.flip_rate=0.1"],
    "sppo": ["training.win_rates=bradley_terry"],
    "orpo": ["training.beta=0.5"],
    "simpo": ["training.beta=2"],
    "plackett_luce": ["pairs.choice=all_vs_best"],
    "pro": ["pairs.choice=all_vs_best"],
}


class TrainerHere:
    """The trainer's jobs in this process: a Ray actor for each loss would cost more than its training."""

    def __init__(self, config: RunConfig) -> None:
        self._config = config

    def publish_initial(self, folder: str, player: Player = "solver") -> Checkpoint:
        from workers.training.job import publish_model

        return publish_model(self._config.model_of(player), self._config.training_of(player), Path(folder))

    def train(self, job: TrainingJob, report: Callable[[TrainingStep, int], None]) -> TrainingResult:
        from workers.training.job import run_job

        return run_job(job, self._config.training, self._config.model, report=report)


class AskedOnce:
    """One real engine's answers: all losses start from the same policy and ask it the same, so that the first to ask
    pays for all.
    """

    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self._answers = fleet, dict[Request, PromptResponses]()

    def load(self, policy: Checkpoint) -> None:
        assert policy.number == 0
        self._fleet.load(policy)

    def rest(self) -> None:
        self._fleet.rest()

    def generate(self, requests: Iterable[Request]) -> Iterator[PromptResponses]:
        asked = [*requests]
        new = [request for request in asked if request not in self._answers]
        by_number = {request.number: request for request in new}
        self._answers |= {by_number[answered.number]: answered for answered in self._fleet.generate(new)}
        yield from (self._answers[request] for request in asked)


@pytest.fixture(scope="module")
def engine(ray_cluster: Settings) -> Iterator[AskedOnce]:
    """One real engine for the playground's solver."""
    with start_fleet(
        load_config("playground", SMALL),
        resolve_model("playground"),
        logs_dir=ray_cluster.logs_dir,
        views_dir=ray_cluster.data_dir / "losses",
    ) as started:
        yield AskedOnce(started)


def playing(engine: AskedOnce, config: RunConfig) -> Callable[..., Any]:
    """A builder for the driver."""
    reward = build_rewarder(config.reward, local=True)
    roles = Roles(engine, reward, build_evolver(config.evolving), TrainerHere(config), reward)
    return lambda *_given: nullcontext(roles)


@pytest.mark.parametrize("loss", [name for name, loss in LOSSES.items() if not loss.online])
def test_a_loss_plays_an_iteration_and_opens_its_margin(
    loss: str, engine: AskedOnce, store: Store, tmp_path: Path
) -> None:
    config = load_config("playground", [*SMALL, f"training.loss={loss}", *SETTINGS.get(loss, [])])
    run = register_run(store, config)
    drive(store, Settings(tmp_path, None, None), run, Recorder(), build=playing(engine, config))
    with store.transaction() as conn:
        steps = checkpoints.read_training_steps(conn, run.id, 1)
        given, trained = checkpoints.read_checkpoints(conn, run.id)
        pairs = read_pairs(conn, run.id, 0)
    margins = [step.values["rewards/margins"] for step in steps]
    third = len(margins) // 3
    assert third >= 3 and len(pairs) > 30
    assert sum(margins[-third:]) > sum(margins[:third])
    assert loss == "kto" or steps[-1].values["rewards/accuracies"] > 0.5  # its responses stand alone
    assert given.digest != trained.digest


def test_a_policy_gradient_trains_on_the_tokens_that_the_engine_sampled(
    engine: AskedOnce, store: Store, tmp_path: Path
) -> None:
    config = load_config("playground", [*SMALL, "training.loss=rloo", "training.batch=96", "training.epochs=1"])
    run = register_run(store, config)
    drive(store, Settings(tmp_path, None, None), run, Recorder(), build=playing(engine, config))
    with store.transaction() as conn:
        steps = checkpoints.read_training_steps(conn, run.id, 1)
        given, trained = checkpoints.read_checkpoints(conn, run.id)
    assert len(steps) >= 3 and given.digest != trained.digest
    assert steps[0].values["ratio"] == pytest.approx(1, abs=1e-5)
    assert all(step.values["gap"] < 0.05 for step in steps)
