"""Ends Ray actors, including those whose process is frozen, and tells when one was lost with its machine.

Ray asks the process to end itself. A stopped process cannot do that, and would keep its memory, its GPU and its Ray
resources. So another process on the same machine kills it.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import ActorUnschedulableError, NodeDiedError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from eva.runtime.processes import end_process, this_process
from workers.cluster.environment import process_environment

_FETCH_S = 10.0
_ANSWER_S = 2.0


def find_process(actor: Any) -> Any:
    """Returns a reference to the actor's process, for `stop_actor`. Call it before any other call of a new actor."""
    return actor.__ray_call__.remote(_whereabouts)


def stop_actor(actor: Any, located: Any) -> None:
    """Ends the actor and, if it has started, its process. Returns at once. `located` comes from `find_process`."""
    ray.kill(actor)
    if not ray.wait([located], timeout=0)[0]:
        return
    try:
        process, node = ray.get(located, timeout=_FETCH_S)
    except RayError:  # it died before it could say
        return
    remote: Any = ray.remote(end_process)
    remote.options(
        num_cpus=0,
        max_retries=0,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        runtime_env={"env_vars": process_environment()},
    ).remote(process)


def lost_machine(error: BaseException, located: Any) -> bool:
    """Whether an actor was lost with its machine, so that neither the actor nor its work is to blame.

    `located` comes from `find_process`.
    """
    if isinstance(error, NodeDiedError | ActorUnschedulableError) or "its node has died" in str(error):
        return True
    if not ray.wait([located], timeout=0)[0]:
        return False
    try:
        _, node = ray.get(located, timeout=_FETCH_S)
    except RayError:  # it died before it could say
        return False
    return not any(machine_answers(known) for known in ray.nodes() if known["NodeID"] == node)


def machine_answers(node: Mapping[str, Any]) -> bool:
    """Whether a machine (of `ray.nodes()`) is there. Ray lists a lost one until several health checks have failed."""
    if not node["Alive"]:
        return False
    try:
        socket.create_connection((node["NodeManagerAddress"], node["NodeManagerPort"]), timeout=_ANSWER_S).close()
    except OSError:
        return False
    return True


def _whereabouts(_actor: Any) -> tuple[dict[str, Any], str]:
    return this_process(), ray.get_runtime_context().get_node_id()
