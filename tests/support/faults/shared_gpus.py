"""A local cluster with made-up GPUs on which engines, rewarders and a trainer take turns, and which loses machines.

    EVA_ASKED=FILE PYTHONPATH=…/modelless python -m tests.support.faults.shared_gpus FOLDER

The actors are real ones, without models. Prints what happened in each part.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray._private import worker as ray_worker
from ray._raylet import PlacementGroupID
from ray.autoscaler.v2.sdk import get_cluster_resource_state
from ray.cluster_utils import Cluster
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

from eva.config import PointwiseReward
from eva.runtime.worker_reports import Incident
from eva.types import (
    Checkpoint,
    PromptResponses,
    Request,
    RewardedResponses,
    SamplingSettings,
    TrainingJob,
    TrainingStep,
)
from orchestrator.hold.orphans import process_mark
from tests.support import tiny_models
from tests.support.faults.placed_parts import LengthModel, PlacedTraining, machine_here
from tests.support.faults.two_machines import QUICK
from tests.support.ray_fixtures import tiny_config
from workers.fleet import recovery
from workers.fleet.dispatch import Limits
from workers.fleet.engine import EngineSetup
from workers.fleet.engine_actors import ActorEngines
from workers.fleet.fleet import Fleet
from workers.fleet.placement import EngineResources
from workers.models.chat_template import Prompting
from workers.rewards.actor import ActorRewarder
from workers.training import trainer as trainer_module
from workers.training.checkpoints import seal
from workers.training.trainer import LocalTrainer

ENGINES, ENGINE_GPUS, REPLICAS, REWARD_GPUS = 3, 0.75, 2, 0.25
MACHINE_GPUS = 2
PATIENCE_S = 3.0
"""Seconds without room for anything, after which a part gives up."""


@dataclass
class Scene:
    """The cluster, its parts, and what they told."""

    cluster: Cluster
    machines: list[Any]
    fleet: Fleet
    engines: ActorEngines
    rewarder: ActorRewarder
    trainer: LocalTrainer
    policy: Checkpoint
    told: list[Incident] = field(default_factory=list[Incident])
    asked: int = 0

    def requests(self, count: int) -> list[Request]:
        self.asked += count
        numbers = range(self.asked - count, self.asked)
        return [Request(number, f"prompt {number}", 2, 10 * number, SamplingSettings(1, 1, 8)) for number in numbers]

    def judge(self, count: int, harm: Callable[[], object] | None = None) -> list[RewardedResponses]:
        """Rewards the responses to `count` prompts; `harm` happens when twenty are there."""
        self.fleet.load(self.policy)

        def harmed() -> Iterator[PromptResponses]:
            for number, answered in enumerate(self.fleet.generate(self.requests(count))):
                if number == 20 and harm is not None:
                    harm()
                yield answered

        return list(self.rewarder.reward(harmed()))

    def train(self, report: Callable[[TrainingStep, int], None] = lambda step, total: None) -> dict[str, Any]:
        self.fleet.rest()
        self.rewarder.rest()
        job = TrainingJob(1, 0, self.policy, self.policy, "", "", 0)
        return json.loads(self.trainer.train(job, report).checkpoint.path)

    def incidents(self) -> list[list[str]]:
        return [[incident.kind, incident.text] for incident in self.told]

    def add_machine(self) -> None:
        self.machines.append(self.cluster.add_node(num_cpus=1, num_gpus=MACHINE_GPUS))

    def lose_machine(self, of: str | None = None) -> None:
        """Kills a machine with GPUs: the one with this node id, or any."""
        lost = next(each for each in self.machines if of is None or each.node_id == of)
        self.machines.remove(lost)
        lost.kill_raylet()

    def until_all_serve(self) -> None:
        """Loads until every engine serves. Has no time-out: the caller of this process has one."""
        while not all(self.engines.serving(slot) for slot in range(ENGINES)):
            self.fleet.load(self.policy)
            list(self.fleet.generate(self.requests(1)))
            time.sleep(0.2)


def complete(rewarded: list[RewardedResponses], count: int) -> bool:
    numbers = {each.prompt.number for each in rewarded}
    whole = all(len(each.rewards) == 2 and all(one.value is not None for one in each.rewards) for each in rewarded)
    return whole and len(rewarded) == len(numbers) == count


def free_gpus() -> float:
    return ray.available_resources().get("GPU", 0.0)


def demanded() -> list[dict[str, float]]:
    """What an autoscaler sees: the resources of reservations that no machine has granted."""
    worker: Any = ray_worker.global_worker
    state: Any = get_cluster_resource_state(worker.gcs_client)
    requests = [each for gang in state.pending_gang_resource_requests for each in gang.requests]
    return [dict(each.resources_bundle) for each in requests]


def turns(scene: Scene) -> dict[str, Any]:
    """Judge, train, judge: each finds the GPUs that it needs, and none is kept from another."""
    first = scene.judge(60)
    held = len(scene.machines) * MACHINE_GPUS - free_gpus()
    trained = scene.train()
    again = scene.judge(60)
    return {"complete": complete(first, 60) and complete(again, 60), "held": held, "trained": trained}


def lost_while_generating(scene: Scene) -> dict[str, Any]:
    scene.told.clear()
    lost_slots = [slot for slot in range(ENGINES) if machine_of(scene, slot) == machine_of(scene, 0)]
    rewarded = scene.judge(400, lambda: scene.lose_machine(machine_of(scene, 0)))
    serving = sum(scene.engines.serving(slot) for slot in range(ENGINES))
    demand = demanded()
    scene.add_machine()
    scene.until_all_serve()
    return {
        "complete": complete(rewarded, 400),
        "lost": len(lost_slots),
        "serving": serving,
        "demand": demand,
        "told": scene.incidents(),
    }


def lost_while_rewarding(scene: Scene) -> dict[str, Any]:
    scene.told.clear()
    scene.fleet.load(scene.policy)
    answered = list(scene.fleet.generate(scene.requests(300)))
    process = scene.rewarder._processes[0]

    def harmed() -> Iterator[PromptResponses]:
        for number, each in enumerate(answered):
            if number == 150:
                scene.lose_machine(ray.get(process._located)[1])
            yield each

    rewarded = list(scene.rewarder.reward(harmed()))
    scene.add_machine()
    return {"complete": complete(rewarded, 300), "told": scene.incidents()}


def lost_while_training(scene: Scene) -> dict[str, Any]:
    scene.told.clear()
    harm = [True]

    def report(step: TrainingStep, total: int) -> None:
        if step.step == 5 and harm:
            harm.clear()
            scene.lose_machine(ray.get(scene.trainer._located)[1])
            scene.add_machine()

    trained = scene.train(report)
    clean_up()
    return {"trained": trained, "told": scene.incidents()}


def clean_up() -> None:
    """Removes what a lost training has reserved, as Ray Train's own cleaner does. Nothing else holds room now."""
    for group, facts in placement_group_table().items():
        if facts["state"] != "REMOVED":
            remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(group))))


def none_left(scene: Scene) -> dict[str, Any]:
    """Every part says what is missing, and the cluster is asked for it."""
    while scene.machines:
        scene.lose_machine()
    said: dict[str, Any] = {}
    for name, use in (
        ("engines", lambda: scene.fleet.load(scene.policy)),
        ("rewarder", lambda: list(scene.rewarder.reward([answer_to(number) for number in range(3)]))),
        ("trainer", lambda: scene.train()),
    ):
        demand: list[dict[str, float]] = []
        with ThreadPoolExecutor(1) as pool:
            used = pool.submit(use)
            while not used.done():
                demand = demanded() or demand
                time.sleep(0.2)
        said[name] = [str(used.exception(timeout=0)), demand]
    return said


def answer_to(number: int) -> PromptResponses:
    from tests.support.simulated_engines import answer_of

    return answer_of(Request(number, f"prompt {number}", 2, 10 * number, SamplingSettings(1, 1, 8)))


def machine_of(scene: Scene, slot: int) -> str:
    return ray.get(scene.engines._slots[slot].located)[1]


def main(folder: Path) -> None:
    model = tiny_models.record_canary(tiny_models.llama(folder / "model"))
    policy, told = Checkpoint(0, 0, str(model), seal(model)), list[Incident]()
    recovery.GRANT_S = 1.0
    trainer_module.TrainingProcess = PlacedTraining  # type: ignore[misc, assignment]
    config = tiny_config(model, gpus_per_engine=ENGINE_GPUS, engines=ENGINES, start_s=PATIENCE_S)
    config = config.model_copy(update={"training": config.training.model_copy(update={"devices": 2})})
    reward = PointwiseReward(kind="pointwise", model="none", gpus=REWARD_GPUS, replicas=REPLICAS)
    setup = EngineSetup(Prompting(), "float32", 256, True, None, ENGINE_GPUS, 1.0, 0.5)
    with ExitStack() as stack:
        stack.enter_context(process_mark())
        head = {"num_cpus": 4, "num_gpus": 0, "include_dashboard": False, "_system_config": QUICK}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        stack.callback(cluster.shutdown)
        machines = [cluster.add_node(num_cpus=1, num_gpus=MACHINE_GPUS) for _ in range(2)]
        ray.init(address=cluster.address, log_to_driver=False)
        stack.callback(ray.shutdown)
        engines = ActorEngines(setup, EngineResources(ENGINE_GPUS, 0, 1), ENGINES, folder)
        limits = Limits(4, 3, 60.0, start_s=120)
        fleet = stack.enter_context(Fleet(engines, limits, folder / "views", shares_device=True, notice=told.append))
        rewarder = stack.enter_context(
            closing(
                ActorRewarder(
                    "length",
                    f"{LengthModel.__module__}:{LengthModel.__name__}",
                    reward,
                    room_s=PATIENCE_S,
                    notice=told.append,
                )
            )
        )
        trainer = stack.enter_context(LocalTrainer(config, folder, notice=told.append))
        scene = Scene(cluster, machines, fleet, engines, rewarder, trainer, policy, told)
        seen: dict[str, Any] = {"head": machine_here()}
        for part in (turns, lost_while_generating, lost_while_rewarding, lost_while_training, none_left):
            if part is none_left:
                fleet._recovery._room_s = PATIENCE_S
            seen[part.__name__] = part(scene)
            sys.stderr.write(f"{part.__name__}: {json.dumps(seen[part.__name__])}\n")
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    # the module that actors import by its name, rather than __main__
    from tests.support.faults import shared_gpus

    shared_gpus.main(Path(sys.argv[1]))
