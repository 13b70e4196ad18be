"""Room on the cluster's machines for actors: asked for at once, granted when machines have it.

Ray asks for the place of a reservation that was lost with its machine again, before all others and for ever: no other
is granted meanwhile, even if there is room for it. So whoever waits for room gives back the lost reservations of this
process. Their actors ended with the machine.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

import ray
from ray._private import worker as ray_worker

# What is free in the cluster's sum may lie on several machines; Ray has no public name for this.
from ray._private.state import available_resources_per_node
from ray.util.placement_group import placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from workers.cluster.actors import machine_answers

_ASK_AGAIN_S = 0.5
_reservations: WeakSet[Room] = WeakSet()


class Room:
    """A reservation: resources of one machine, or of several. An autoscaler sees those that are not granted yet.

    Only machines that have the resources can grant it. `release` returns them, also while it is not granted.
    """

    def __init__(self, *parts: Mapping[str, float]) -> None:
        """Asks for the resources. Each part is granted by one machine; without any resources nothing is reserved."""
        kept = [{name: amount for name, amount in part.items() if amount > 0} for part in parts]
        self._parts = [part for part in kept if part]
        self._group = placement_group(self._parts, strategy="PACK") if self._parts else None
        self._granted = self._group is None
        self._asked_at = -_ASK_AGAIN_S
        if self._group is not None:
            _reservations.add(self)

    @property
    def granted(self) -> bool:
        """Whether machines hold the resources for this reservation, or it was released."""
        now = time.monotonic()
        if not self._granted and now - self._asked_at >= _ASK_AGAIN_S:
            if self._state() == "CREATED":
                self._granted = True
            else:
                _release_lost_except(self)
            self._asked_at = time.monotonic()
        return self._granted

    @property
    def lost(self) -> bool:
        """Whether a machine that had granted it is gone, and no other has taken its place."""
        return self._state() == "RESCHEDULING"

    def missing(self) -> str | None:
        """Returns what no machine has free, or None once the reservation is granted."""
        if self.granted:
            return None
        return missing_room(self._parts)

    def options(self) -> dict[str, Any]:
        """Returns the actor options that place an actor in the first part."""
        if self._group is None:
            return {}
        return {"scheduling_strategy": PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=0)}

    def release(self) -> None:
        """Returns the resources and ends what runs in them. Does nothing the second time."""
        group, self._group, self._granted = self._group, None, True
        if group is not None:
            remove_placement_group(group)

    def _state(self) -> str | None:
        return None if self._group is None else placement_group_table(self._group).get("state")


def _release_lost_except(waiting: Room) -> None:
    for room in [room for room in _reservations if room is not waiting and room.lost]:
        room.release()


def missing_room(parts: list[dict[str, float]]) -> str:
    """Returns a description of the resources that are needed, and of what is free."""
    free: dict[str, dict[str, float]] = available_resources_per_node()
    needed = [
        f"{name} {amount * len(parts):g} needed, {_free(free, name, alone=len(parts) == 1)}"
        for name, amount in parts[0].items()
    ]
    text = "; ".join(needed)
    return text if len(needed) == 1 else f"{text}, but no machine of {len(free)} has all of it"


def never_has(name: str, amount: float) -> bool:
    """Whether this process has started the cluster itself, so that no machine joins, and it has less than `amount`."""
    node: Any = ray_worker._global_node  # Ray has no public name for this
    return node is not None and node.head and float(ray.cluster_resources().get(name, 0)) < amount


def machine_with_gpus() -> str | None:
    """Returns the node id of the machine with the most memory among those with a GPU, None where there is none."""
    nodes: list[tuple[float, str]] = [
        (node["Resources"].get("memory", 0), str(node["NodeID"]))
        for node in ray.nodes()
        if node["Resources"].get("GPU", 0) > 0 and machine_answers(node)
    ]
    return max(nodes)[1] if nodes else None


def free_gpus(machine: str | None = None) -> float:
    """Returns how many GPUs are free in the cluster, or on the machine with this name of Ray's (`node:ADDRESS`)."""
    nodes: dict[str, dict[str, float]] = available_resources_per_node()
    return sum(node.get("GPU", 0.0) for node in nodes.values() if machine is None or machine in node)


def beside_gpus() -> dict[str, Any]:
    """Returns the actor options of an actor that needs no GPU itself, but the memory of a machine that has them.

    The actor starts on no other: a mere wish (`soft`) Ray heeds most of the time only.
    """
    node = machine_with_gpus()
    return {} if node is None else {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)}


def _free(free: Mapping[str, Mapping[str, float]], name: str, *, alone: bool) -> str:
    amounts = [node.get(name, 0.0) for node in free.values()]
    return f"{max(amounts, default=0):g} free at most" if alone else f"{sum(amounts):g} free"
