"""Engines serve a policy as its adapter, on top of weights that stay: proven like merged weights, in real engines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from peft import PeftModel

from eva.config import Model, RunConfig, Training
from eva.config.files import load_config
from eva.config.solver import Lora
from eva.errors import CheckpointError
from eva.roles import Roles
from eva.settings import Settings
from eva.solver.manifest import read_manifest
from eva.types import Checkpoint, Player, PromptResponses, Request, TrainingJob, TrainingResult
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from store.game import checkpoints
from store.session import Store
from tests.support import tiny_models
from tests.support.fakes import Recorder
from workers.evolvers import build_evolver
from workers.fleet.engine_actors import ActorEngines
from workers.fleet.fleet import Fleet, start_fleet
from workers.fleet.proof import differences, refuse_opened
from workers.models.model_folder import resolve_model
from workers.rewards import build_rewarder
from workers.training import checkpoint_files
from workers.training.adapters.adapter_files import ADAPTER, new_update, read_adapter
from workers.training.canary import measure, read_canary
from workers.training.checkpoints import checkpoint_name, publish
from workers.training.job import publish_model, run_job
from workers.training.policies import add_adapters, merge_adapters

LORA = Lora(rank=4, alpha=8, serve="adapter")
TRAINING = Training(lora=LORA)
SMALL_STEP = 2e-5
SMALL = [
    "prompts.playground=32",
    "iterations=2",
    "evaluation.playground=null",
    "training.batch=8",
    "training.learning_rate=1e-3",
    "training.lora.rank=4",
    "training.lora.serve=adapter",
]


@pytest.fixture(scope="module")
def fleet(ray_cluster: Settings) -> Iterator[Fleet]:
    with start_fleet(
        load_config("playground", SMALL),
        resolve_model("playground"),
        logs_dir=ray_cluster.logs_dir,
        views_dir=ray_cluster.data_dir / "adapters",
    ) as started:
        yield started


@contextmanager
def engine_of(fleet: Fleet) -> Iterator[Any]:
    """The fleet's engine, which the fleet opens anew afterwards."""
    assert isinstance(fleet._engines, ActorEngines)
    yield fleet._engines.actor(0)
    fleet._engines._slots[0].served = None
    fleet._policy = fleet._shape = fleet._canary = None


def trained(policy: Checkpoint, folder: Path, step: float) -> Checkpoint:
    """The checkpoint after `policy`, as a training publishes it that moved an adapter's second matrices by `step`."""
    number = policy.number + 1
    job = TrainingJob(number, number - 1, policy, policy, "", str(folder), seed=1)
    adapted = add_adapters(checkpoint_files.load_policy(policy.path), LORA)
    draw = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for name, weights in adapted.named_parameters():
            if "lora_B" in name:
                weights += step * torch.randn(weights.shape, generator=draw)
    update = new_update(adapted)

    def write(directory: Path) -> None:
        checkpoint_files.write_trained(merge_adapters(adapted), update, job, TRAINING, directory, gpu=False)
        model = Model(path=policy.path)
        checkpoint_files.seal_with_canary(directory, TRAINING, model, dtype="float32", engines_on_gpu=False)

    name = checkpoint_name(number)
    return Checkpoint(number, number - 1, str(folder / name), publish(write, folder, name))


def chain(make: tiny_models.Maker, folder: Path, *steps: float) -> list[Checkpoint]:
    """The initial model's checkpoint, and one after each of `steps`."""
    chained = [publish_model(Model(path=str(make(folder / "model"))), TRAINING, folder / "run")]
    for step in steps:
        chained.append(trained(chained[-1], folder / "run", step))
    return chained


@pytest.mark.parametrize("make", [tiny_models.llama, tiny_models.gemma2])
def test_an_engine_with_an_adapter_answers_as_the_merged_model_and_not_as_the_policy_before(
    make: tiny_models.Maker, fleet: Fleet, tmp_path: Path
) -> None:
    """Adapters add up: the second has moved by 2e-5, four steps at the learning rate of `small-24gb`. The third has
    rank 12, as after a fork, and the engine room for 8: it opens the model again."""
    policies = chain(make, tmp_path, 0.05, SMALL_STEP, 0.05)
    canaries = [read_canary(Path(policy.path)) for policy in policies]
    measured: dict[int, list[list[float]]] = {}
    with engine_of(fleet) as engine:
        ray.get(engine.open.remote(policies[0].path, policies[0], adapted=policies[2]))
        for number in (2, 1, 0, 2, 3):
            ray.get(engine.adapt.remote(policies[0].path, policies[number] if number else None))
            measured[number] = ray.get(engine.measure.remote(canaries[0].tokens))
            gaps = [max(differences(canary.values, measured[number])) for canary in canaries]
            assert gaps[number] < 5e-5, f"nats, serving {number}"
            assert all(gaps[other] > 0.05 for other in {0, 1, 3} - {number, 1 if number == 2 else number})
    refusals = [refuse_opened(canaries[2], canaries[1], measured[number], half=False) for number in (1, 2)]
    assert "nearer to the previous checkpoint" in (refusals[0] or "") and refusals[1] is None


def test_an_adapter_is_peft_s_own_layout_and_names_its_base(tmp_path: Path) -> None:
    first, _, policy = chain(tiny_models.gemma2, tmp_path, 0.05, 0.05)
    adapter = read_adapter(policy)
    assert adapter is not None and (adapter.rank, adapter.base) == (8, first)
    base = checkpoint_files.load_policy(first.path)
    loaded = PeftModel.from_pretrained(base, adapter.folder).eval()
    canary = read_canary(Path(policy.path))
    measured = [measure(loaded, [*ids]) for ids in canary.tokens]
    assert max(differences(canary.values, measured)) < 5e-5
    forked = read_adapter(trained(policy, tmp_path / "fork", 0.05))
    assert forked is not None and (forked.rank, forked.base) == (4, policy), "a fork begins a new sum"
    entries = read_manifest(Path(policy.path)).files
    handed_over = sum(entry.size for entry in entries if entry.path.startswith(f"{ADAPTER}/"))
    assert handed_over < sum(entry.size for entry in entries) / 3


def test_a_damaged_adapter_is_not_served(tmp_path: Path) -> None:
    _, policy = chain(tiny_models.llama, tmp_path, 0.05)
    file = Path(policy.path) / ADAPTER / "adapter_model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=r"adapter/adapter_model\.safetensors has changed"):
        read_adapter(policy)


class Trainer:
    """The trainer's jobs, in this process."""

    def __init__(self, config: RunConfig) -> None:
        self._config = config

    def publish_initial(self, folder: str, player: Player = "solver") -> Checkpoint:
        return publish_model(self._config.model_of(player), self._config.training_of(player), Path(folder))

    def train(self, job: TrainingJob, report: Any) -> TrainingResult:
        return run_job(job, self._config.training, self._config.model, report=report)


class KilledOnce:
    """A fleet whose engine is killed while it answers with the first adapter."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet, self._killed = fleet, False
        self.opened: dict[int, bool] = {}
        self._policy: Checkpoint | None = None

    def load(self, policy: Checkpoint) -> None:
        self._fleet.load(policy)
        assert isinstance(self._fleet._engines, ActorEngines)
        self.opened.setdefault(policy.number, self._fleet._engines._slots[0].fresh)
        self._policy = policy

    def rest(self) -> None:
        self._fleet.rest()

    def generate(self, requests: Iterable[Request]) -> Iterator[PromptResponses]:
        answers = self._fleet.generate(requests)
        first = next(iter(answers), None)
        if first is not None:
            yield first
        assert self._policy is not None and isinstance(self._fleet._engines, ActorEngines)
        if self._policy.number == 1 and not self._killed:
            self._killed = True
            ray.kill(self._fleet._engines.actor(0))
        yield from answers


def test_a_game_with_served_adapters_survives_a_killed_engine(fleet: Fleet, store: Store, tmp_path: Path) -> None:
    """The engine is opened for the first policy and after it was killed; it takes adapters as it is, and proves all."""
    config = load_config("playground", SMALL)
    run = register_run(store, config)
    generator, reward = KilledOnce(fleet), build_rewarder(config.reward, local=True)
    roles = Roles(generator, reward, build_evolver(config.evolving), Trainer(config), reward)
    drive(store, Settings(tmp_path, None, None), run, Recorder(), build=lambda *_: nullcontext(roles))
    with store.transaction() as conn:
        stored = checkpoints.read_checkpoints(conn, run.id)
    places = [tmp_path / "runs" / each.path for each in stored]
    adapters = [
        read_adapter(Checkpoint(each.number, 0, str(place), each.digest))
        for each, place in zip(stored, places, strict=True)
    ]
    assert [each and (each.rank, each.base.digest) for each in adapters] == [
        None,
        (4, stored[0].digest),
        (8, stored[0].digest),
    ]
    assert isinstance(fleet._engines, ActorEngines)
    assert generator._killed and (generator.opened[0], generator.opened[1]) == (True, False)
    assert fleet._engines._slots[0].fresh, "the engine that replaced the killed one"
    fleet.load(Checkpoint(2, 1, str(places[2]), stored[2].digest))
    assert not fleet._engines._slots[0].fresh
    canary = read_canary(places[2])
    measured = ray.get(fleet._engines.actor(0).measure.remote(canary.tokens))
    assert max(differences(canary.values, measured)) < canary.tolerance / 10
    assert json.loads((places[2] / ADAPTER / "base.json").read_text())["path"] == checkpoint_name(0)
