"""A local cluster of two machines with real engine actors (without a model), which are harmed while they work.

    EVA_ASKED=FILE PYTHONPATH=…/modelless python -m tests.support.faults.two_machines FOLDER

First the second machine's raylet is killed, then an engine's process is frozen. Prints what happened each time.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from eva.runtime.worker_reports import Incident
from eva.types import Checkpoint, PromptResponses, Request, SamplingSettings
from orchestrator.hold.orphans import process_mark
from tests.support import tiny_models
from workers.fleet.dispatch import Limits
from workers.fleet.engine import EngineSetup
from workers.fleet.engine_actors import ActorEngines
from workers.fleet.fleet import Fleet
from workers.fleet.placement import EngineResources
from workers.models.chat_template import Prompting
from workers.training.checkpoints import seal

WINDOW = 4
QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}


class Placeholder:
    """Occupies a core of the first machine, so that each machine gets one engine."""


def asked() -> list[list[str]]:
    """Returns the process and the seed of every request that an engine received."""
    return [line.split() for line in Path(os.environ["EVA_ASKED"]).read_text().splitlines()]


def answer(fleet: Fleet, told: list[Incident], harm: Callable[[], object], first: int) -> dict[str, Any]:
    """Calls `harm` while engines work, sends prompts until an engine is missed and 20 more; says what happened."""
    before, told[:], harmed = len(asked()) if first else 0, [], None
    got, requests = list[PromptResponses](), list[Request]()

    def more() -> Iterator[Request]:
        after = 0
        while after < 20:
            number = first + len(requests)
            requests.append(Request(number, f"prompt {number}", 2, 10 * number, SamplingSettings(1, 1, 8)))
            yield requests[-1]
            after += any(incident.kind == "engine_lost" for incident in told)

    for result in fleet.generate(more()):
        got.append(result)
        if len(got) == 20:
            harmed = harm()
    texts = {result.number: [(row.sample, row.seed, row.text) for row in result.responses] for result in got}
    return {
        "answered": sorted(texts) == [request.number for request in requests] and len(got) == len(texts),
        "answers_by_seed": len({(seed % 7, text) for rows in texts.values() for _, seed, text in rows}),
        "requested": len(requests),
        "asked": len(asked()) - before,
        "harmed": harmed,
        "told": [[incident.kind, incident.text, dict(incident.data)] for incident in told],
    }


def until_back(fleet: Fleet, policy: Checkpoint, told: list[Incident]) -> None:
    """Sends requests until every lost engine serves again. Has no time-out: the caller of this process has one."""
    kinds = [incident.kind for incident in told]
    while kinds.count("engine_back") < kinds.count("engine_lost"):
        fleet.load(policy)
        list(fleet.generate([Request(0, "anything", 1, 0, SamplingSettings(1, 1, 8))]))
        time.sleep(0.2)
        kinds = [incident.kind for incident in told]


def freeze() -> int:
    pid = int(asked()[-1][0])
    os.kill(pid, signal.SIGSTOP)
    return pid


def main(folder: Path) -> None:
    model = tiny_models.record_canary(tiny_models.llama(folder / "model"))
    policy, told, everything = Checkpoint(0, 0, str(model), seal(model)), list[Incident](), list[Incident]()

    def notice(incident: Incident) -> None:
        told.append(incident)
        everything.append(incident)

    setup = EngineSetup(Prompting(), "float32", 256, True, None, 0, 1.0, 0.5)
    with ExitStack() as stack:
        stack.enter_context(process_mark())
        cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 2,
                "resources": {"first": 1},
                "include_dashboard": False,
                "_system_config": QUICK,
            },
        )
        stack.callback(cluster.shutdown)
        second = cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        stack.callback(ray.shutdown)
        remote: Any = ray.remote
        placeholder = remote(Placeholder).options(num_cpus=1, resources={"first": 1}).remote()
        ray.get(placeholder.__ray_ready__.remote())
        engines = ActorEngines(setup, EngineResources(0, 1, 1), 2, folder)
        limits = Limits(WINDOW, 5, 5.0, start_s=120)
        with Fleet(engines, limits, folder / "views", notice=notice) as fleet:
            fleet.load(policy)
            ray.kill(placeholder)
            lost = answer(fleet, told, second.kill_raylet, 0)
            nodes = sum(bool(node["Alive"]) for node in ray.nodes())
            until_back(fleet, policy, everything)
            frozen = answer(fleet, told, freeze, 10**6)
            until_back(fleet, policy, everything)
            frozen["harmed"] = Path(f"/proc/{frozen['harmed']}").exists()
        fleet_told = [[incident.kind, incident.text] for incident in everything]
    sys.stdout.write(json.dumps({"raylet": lost, "nodes": nodes, "frozen": frozen, "told": fleet_told}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
