"""The configs that come with eva."""

from __future__ import annotations

import math
from dataclasses import asdict

from fastapi import APIRouter

from api.schema import Schema
from api.service import Here
from eva.capacity.machines import Machines
from eva.capacity.placement import serving_demands, unplaced
from eva.config.files import config_from_values, preset_values, presets, read_preset

router = APIRouter(prefix="/v1/presets", tags=["presets"])


class Preset(Schema):
    """A config that comes with eva."""

    name: str
    """Its name."""
    summary: str
    """What it is for."""
    needs: str
    """The data, keys, GPUs and disk space that it needs."""
    model: str
    """The model that it starts from."""
    loss: str
    """The loss that it trains with."""
    gpus: int
    """How many GPUs it uses at a time; 0: it plays on a CPU."""
    lacks: str | None
    """What the service's machines lack of them, in words; null if they are there, or if that is not known. A dry
    run says whether their memory suffices."""


class Presets(Schema):
    """The configs that come with eva."""

    items: list[Preset]
    """All of them."""
    machines: str | None
    """What the service plays on, in words; null where it plays on a cluster that it is not connected to."""


@router.get("")
def list_presets(here: Here) -> Presets:
    """The configs that come with eva, and what they need."""
    # loads the checks of models, which a service that only shows runs does not need
    from orchestrator.launch.preflight import find_machines

    machines = find_machines(here.settings)
    return Presets(
        items=[_preset(name, machines) for name in presets()], machines=None if machines is None else str(machines)
    )


def _preset(name: str, machines: Machines | None) -> Preset:
    config = config_from_values(preset_values(name), [])
    serving = serving_demands(config)
    trainers = config.training.devices if config.fleet.gpus_per_engine > 0 else 0
    needed = max(math.ceil(sum(demand.gpus for demand in serving)), trainers)
    lacks = None
    if machines is not None and (unplaced(serving, machines) or trainers > machines.gpus):
        gpus = "1 GPU" if needed == 1 else f"{needed} GPUs"
        lacks = f"It uses {gpus} at a time; {machines} has {machines.gpus or 'none'}"
    return Preset(**asdict(read_preset(name)), gpus=needed, lacks=lacks)
