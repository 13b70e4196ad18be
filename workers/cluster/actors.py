"""The end of an actor whose process may be frozen.

Ray asks the process itself to end. One that is stopped hears nothing: it would keep its memory, its GPU and what Ray
has reserved for it. So another process on its machine kills it.
"""

from __future__ import annotations

from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from eva.runtime.processes import end_process, this_process
from workers.cluster.environment import process_environment

_FETCH_S = 10.0


def locate(actor: Any) -> Any:
    """Where a new actor's process is: a reference for `end_actor`, to be asked for before anything else."""
    return actor.__ray_call__.remote(_whereabouts)


def end_actor(actor: Any, located: Any) -> None:
    """End the actor, and its process for certain once it has begun to serve; returns at once."""
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


def _whereabouts(_actor: Any) -> tuple[dict[str, Any], str]:
    return this_process(), ray.get_runtime_context().get_node_id()
