"""The plan of a run: what each role needs on its GPUs, what does not fit, how long an iteration takes, what idles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from eva.capacity.machines import GB, Machines
from eva.capacity.placement import networks, reward_networks, rewarders, serving_demands, unplaced
from eva.capacity.serving_memory import EngineNeed, engine_memory, reward_memory
from eva.capacity.shapes import ModelShape
from eva.capacity.stage_times import (
    TRAIN_CREATOR,
    Counts,
    StageTime,
    counts_of,
    record_bytes,
    stage_times,
    stored_bytes,
)
from eva.capacity.training_memory import (
    GpuMemory,
    TrainingSetup,
    host_memory,
    responses_per_row,
    setup_of,
    training_memory,
)
from eva.config import RunConfig
from eva.config.files import with_overrides
from eva.config.rewards import replicas_of
from eva.errors import ConfigError

ROUNDS = 5
CREATOR_TRAINING = "creator's training"
LONGEST_ON_CPU_S = 24 * 3600.0
"""Nobody is advised to play on a CPU a run whose iterations take longer there."""


@dataclass(frozen=True, slots=True)
class Models:
    """The shapes of the models that a config names: the policy, and the reward models by their key."""

    policy: ModelShape
    rewards: Mapping[str, ModelShape]


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something that cannot work. `area`: the part of the config that can change it."""

    area: str
    what: str


@dataclass(frozen=True, slots=True)
class Role:
    """What one process of a role holds on each of its GPUs, and what is there for it. None: the GPU is not known."""

    name: str
    gpus: float
    count: int
    need: GpuMemory
    limit: float | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A config on machines. `change`: the smallest change that lets it fit, as overrides; None: none was found.

    Seconds are those of an iteration after the warm-up; `total_s` is the whole run. `disk`: bytes of all checkpoints
    that exist at a time. `records`: bytes of all token records that do.
    """

    machines: Machines
    roles: tuple[Role, ...]
    problems: tuple[Obstacle, ...]
    stages: tuple[StageTime, ...]
    total_s: float
    host: int
    disk: int
    records: int = 0
    change: tuple[str, ...] | None = None

    @property
    def iteration_s(self) -> float:
        return sum(stage.seconds for stage in self.stages)

    @property
    def idle(self) -> float:
        """GPU-seconds of an iteration in which a GPU of these machines does nothing."""
        return sum((self.machines.gpus - stage.gpus) * stage.seconds for stage in self.stages)


def plan_run(config: RunConfig, models: Models, machines: Machines, seeds: int, held_out: int = 0) -> Plan:
    """Plans a run. If it does not fit, the plan names the smallest change of the config that would, if there is one."""

    def planned(changed: RunConfig) -> Plan:
        return _plan(changed, models, machines, seeds, held_out)

    plan = planned(config)
    if not plan.problems:
        return plan
    change = smallest_change(config, plan.problems, planned)
    if change is not None and plan.problems[0].area == "no GPU":
        slow = planned(with_overrides(config, change)).iteration_s > LONGEST_ON_CPU_S
        change = None if slow else change
    return replace(plan, change=change)


def smallest_change(
    config: RunConfig, problems: Iterable[Obstacle], planned: Callable[[RunConfig], Plan]
) -> tuple[str, ...] | None:
    """Overrides after which nothing is wrong any more: for each area the first change that settles it, in rounds, as
    settling one area may touch another. None where no such change is known."""
    changed, overrides, left = config, dict[str, str](), list(problems)
    for _ in range(ROUNDS):
        if not left:
            return tuple(f"{key}={value}" for key, value in overrides.items())
        step = _settling(left[0].area, {problem.area for problem in left}, changed, planned)
        if step is None:
            return None
        changed = with_overrides(changed, step)
        overrides |= dict(each.split("=", 1) for each in step)
        left = list(planned(changed).problems)
    return None


def _settling(
    area: str, known: set[str], config: RunConfig, planned: Callable[[RunConfig], Plan]
) -> tuple[str, ...] | None:
    """The first change that settles an area. Only a change of devices may reveal a problem that was not `known`."""
    allowed = (known | {"training"} if area == "devices" else known) - {area}
    for candidates in CANDIDATES.get(area, ()):
        for overrides in candidates(config):
            try:
                tried = with_overrides(config, overrides)
            except ConfigError:
                continue
            if {problem.area for problem in planned(tried).problems} <= allowed:
                return overrides
    return None


Overrides = Iterator[tuple[str, ...]]


def _cheaper_creator(_config: RunConfig) -> Overrides:
    key = "evolving.evolver.training"
    yield (f"{key}.per_device_batch=1",)
    yield (f"{key}.per_device_batch=1", f"{key}.lora.rank=16")


def _more_devices(config: RunConfig) -> Overrides:
    training = config.training
    for devices in (2, 4, 8, 16, 32, 64):
        if devices > training.devices and training.batch % devices == 0 and training.lora is None:
            per_device = min(training.per_device_batch or training.batch, training.batch // devices)
            yield (f"training.devices={devices}", f"training.per_device_batch={per_device}", *_auto(config))


def _auto(config: RunConfig) -> tuple[str, ...]:
    """Whatever sharding suits the devices, in place of one that is set."""
    return () if config.training.sharding == "auto" else ("training.sharding=auto",)


def _cheaper_training(config: RunConfig) -> Overrides:
    if config.training.per_device_batch != 1:
        yield ("training.per_device_batch=1",)
    if config.training.activation_checkpointing is False:
        yield ("training.activation_checkpointing=true",)
    if sharding := _auto(config):
        yield sharding


def _smaller_state(config: RunConfig) -> Overrides:
    for devices in (config.training.devices, *(d for d in (2, 4, 8, 16) if config.training.batch % d == 0)):
        if devices > 1 and config.training.lora is None:
            base = (f"training.devices={devices}", "training.per_device_batch=1", *_auto(config))
            yield (*base, "training.optimiser=adamw_8bit")
    for devices in (config.training.devices, 2, 4, 8, 16):
        if devices > 1 and config.training.batch % devices == 0 and config.training.lora is None:
            base = (f"training.devices={devices}", "training.per_device_batch=1", *_auto(config))
            yield (*base, "training.offload=true")
    yield ("training.lora.rank=16", *_auto(config))
    yield (
        "training.per_device_batch=1",
        "training.lora.rank=16",
        "training.reference_tokens=4096",
        *_auto(config),
    )


def _fewer_devices(config: RunConfig) -> Overrides:
    for devices in range(config.training.devices - 1, 0, -1):
        if config.training.batch % devices == 0:
            yield (f"training.devices={devices}", *_auto(config))


def _engine_memory(config: RunConfig) -> Overrides:
    for share in (0.9, 0.95):
        if share > config.fleet.memory_fraction:
            yield (f"fleet.memory_fraction={share}",)
    for length in (8192, 4096):
        if length > config.generation.max_tokens:
            yield (f"fleet.max_model_len={length}",)


def _wider_engines(config: RunConfig) -> Overrides:
    gpus = config.fleet.gpus_per_engine * config.fleet.engines
    for width in (1, 2, 4, 8):
        if width > config.fleet.gpus_per_engine:
            yield (f"fleet.gpus_per_engine={width}", f"fleet.engines={max(1, int(gpus // width))}")


def _narrower_engines(config: RunConfig) -> Overrides:
    for width in (4, 2, 1):
        if width < config.fleet.gpus_per_engine:
            yield (f"fleet.gpus_per_engine={width}",)


def _fewer_engines(config: RunConfig) -> Overrides:
    for engines in range(config.fleet.engines - 1, 0, -1):
        yield (f"fleet.engines={engines}",)


def _fewer_rewarders(config: RunConfig) -> Overrides:
    alone = tuple(f"{key}.replicas=1" for key, network in reward_networks(config) if network.replicas > 1)
    if alone:
        yield alone
        yield from ((*alone, *fewer) for fewer in _fewer_engines(config))


def _smaller_share(config: RunConfig) -> Overrides:
    for share in range(int(config.fleet.memory_fraction * 20) - 1, 3, -1):
        yield (f"fleet.memory_fraction={share / 20:g}",)


def _smaller_batches(config: RunConfig) -> Overrides:
    for key, _ in reward_networks(config):
        for tokens in (8192, 4096, 2048):
            yield (f"{key}.batch_tokens={tokens}",)


def _kept_last(config: RunConfig) -> Overrides:
    if config.checkpoints.keep == "all":
        yield ("checkpoints.keep=[last]",)


def _without_gpus(config: RunConfig) -> Overrides:
    rewards = [f"{key}.gpus=0" for key, _ in reward_networks(config)]
    yield ("fleet.gpus_per_engine=0", *_auto(config), *rewards)


CANDIDATES: Mapping[str, tuple[Callable[[RunConfig], Overrides], ...]] = {
    "training": (_cheaper_training, _more_devices, _smaller_state, _fewer_devices),
    CREATOR_TRAINING: (_cheaper_creator,),
    "devices": (_fewer_devices,),
    "engine": (_engine_memory, _wider_engines),
    "fleet": (_narrower_engines, _fewer_engines, _fewer_rewarders),
    "sharing": (_smaller_share,),
    "reward": (_smaller_batches,),
    "disk": (_kept_last,),
    "no GPU": (_without_gpus,),
}
"""Changes that may settle a problem of an area, the smallest first."""


def _plan(config: RunConfig, models: Models, machines: Machines, seeds: int, held_out: int) -> Plan:
    counts = counts_of(config, seeds, held_out)
    roles = tuple(_roles(config, models, machines))
    stages = tuple(stage_times(config, models.policy, models.rewards, machines, counts))
    every, keep = config.iterations + 1, config.checkpoints.keep
    reads = len(config.training.policies_needed(config.iterations - 1))
    kept = every if keep == "all" else min(every, reads + len(keep))
    if (creator := config.evolving.creator) is not None:
        # the weights that write, those that they were trained from, and the update that is being published
        kept += 1 if creator.frozen else every if keep == "all" else 3
    disk = kept * stored_bytes(models.policy, config)
    needs_gpus = _needs_gpus(config)
    host = max((host_memory(models.policy, setup) for _, setup in _trainings(config)), default=0) if needs_gpus else 0
    problems = [*_no_gpus(config, machines)] or [
        *_placement(config, machines),
        *_memory(config, models, machines, roles),
        *_host(host, machines),
    ]
    if config.checkpoints.store is None and machines.free_disk is not None and disk > machines.free_disk:
        problems.append(
            Obstacle(
                "disk",
                f"{kept} checkpoints of {stored_bytes(models.policy, config) / GB:.1f} GB need {disk / GB:.1f} GB of "
                f"disk, and {machines.free_disk / GB:.1f} GB are free",
            )
        )
    total_s, records = _total(config, stages, counts), record_bytes(config, counts)
    return Plan(machines, roles, tuple(problems), stages, total_s, host, disk, records)


def _total(config: RunConfig, stages: Iterable[StageTime], counts: Counts) -> float:
    """The seconds of the whole run. A warm-up judges the pool alone, and evolves nothing.

    Without one, the first children are evolved while nothing is trained.
    """
    stages = [*stages]
    by_name = {stage.name: stage.seconds for stage in stages}
    warm = int(config.warm_start)
    iteration = sum(by_name.values())
    judged = by_name["judge"] * (counts.pool * config.generation.n) / max(1, counts.responses)
    first = iteration - by_name["judge"] - by_name["evolve"] - by_name.get(TRAIN_CREATOR, 0.0) + judged
    alone = 0.0 if warm else sum(stage.hidden for stage in stages)
    return (config.iterations - warm) * iteration + warm * first + alone


def _roles(config: RunConfig, models: Models, machines: Machines) -> Iterator[Role]:
    gpu, fleet = machines.gpu, config.fleet
    if gpu is None:
        return
    if fleet.gpus_per_engine > 0:
        engine = engine_memory(models.policy, config, gpu)
        yield Role("engine", fleet.gpus_per_engine, fleet.engines, engine.need, engine.share)
    for rewarder, reward in rewarders(config):
        for key, network in networks(rewarder, reward):
            if network.gpus > 0 and (shape := models.rewards.get(key)) is not None:
                need = reward_memory(shape, network, gpu)
                yield Role(key, network.gpus, replicas_of(reward), need, gpu.memory)
    if fleet.gpus_per_engine > 0:
        for name, setup in _trainings(config):
            yield Role(name, 1, setup.devices, training_memory(models.policy, setup), gpu.memory)


def _trainings(config: RunConfig) -> Iterator[tuple[str, TrainingSetup]]:
    """The trainings of a run, one after the other on the same devices: of the solver, and of a creator of its own."""
    if config.training.enabled:
        yield "training", setup_of(config.training, responses_per_row(config))
    if (creator := config.evolving.creator) is not None and not creator.frozen:
        yield CREATOR_TRAINING, setup_of(creator.training, 1)


def _needs_gpus(config: RunConfig) -> bool:
    return config.fleet.gpus_per_engine > 0 or any(network.gpus > 0 for _, network in reward_networks(config))


def _no_gpus(config: RunConfig, machines: Machines) -> Iterator[Obstacle]:
    if machines.gpus == 0 and _needs_gpus(config):
        keys = [*(["fleet.gpus_per_engine"] if config.fleet.gpus_per_engine > 0 else [])]
        keys += [f"{key}.gpus" for key, network in reward_networks(config) if network.gpus > 0]
        yield Obstacle("no GPU", f"{', '.join(keys)} ask for GPUs, and there is none: {machines}")


def _placement(config: RunConfig, machines: Machines) -> Iterator[Obstacle]:
    widest = max((node.gpus for node in machines.nodes), default=0)
    demands = serving_demands(config)
    if left := unplaced(demands, machines):
        asked = sum(demand.gpus for demand in demands)
        what = f"engines and rewarders ask for {asked:g} GPUs together"
        if asked <= machines.gpus:
            what += f", and no machine has {left[0].gpus:g} left for the next {left[0].role}"
        if left[0].gpus > widest:
            what = f"an {left[0].role} asks for {left[0].gpus:g} GPUs of one machine, and the largest has {widest}"
        yield Obstacle("fleet", f"{what}: {machines}")
    for name, setup in _trainings(config) if config.fleet.gpus_per_engine > 0 else ():
        key = "training" if name == "training" else "evolving.evolver.training"
        if setup.devices > machines.gpus:
            yield Obstacle("devices", f"{key}.devices is {setup.devices}: {machines}")
        elif config.checkpoints.store is not None and widest < setup.devices:
            yield Obstacle(
                "devices",
                f"{key}.devices is {setup.devices}, and the largest machine has {widest} GPUs: with checkpoints.store, "
                "which needs no disk that machines share, one machine trains",
            )


def _memory(config: RunConfig, models: Models, machines: Machines, roles: Iterable[Role]) -> Iterator[Obstacle]:
    gpu = machines.gpu
    if gpu is None:
        return
    for role in roles:
        if role.name == "engine":
            engine = engine_memory(models.policy, config, gpu)
            if not engine.fits:
                yield Obstacle("engine", _engine_problem(engine, config))
        elif role.limit is not None and role.need.total > role.limit:
            area = role.name if role.name in ("training", CREATOR_TRAINING) else "reward"
            yield Obstacle(
                area, f"{role.name} needs {role.need.total / GB:.0f} GB on each GPU, which has {role.limit / GB:.0f} GB"
            )
    yield from _sharing(config, models, machines)


def _engine_problem(engine: EngineNeed, config: RunConfig) -> str:
    return (
        f"an engine needs {engine.need.total / GB:.1f} GB on each of its GPUs, and may use {engine.share / GB:.1f} GB "
        f"(fleet.memory_fraction {config.fleet.memory_fraction:g})"
    )


def _sharing(config: RunConfig, models: Models, machines: Machines) -> Iterator[Obstacle]:
    """Whether an engine and a rewarder fit on one GPU where both ask for a fraction."""
    gpu, fleet = machines.gpu, config.fleet
    if gpu is None or not 0 < fleet.gpus_per_engine < 1:
        return
    for key, network in reward_networks(config):
        shape = models.rewards.get(key)
        if shape is None or not 0 < network.gpus <= 1 - fleet.gpus_per_engine + 1e-9:
            continue
        need = reward_memory(shape, network, gpu).total
        share = fleet.memory_fraction * gpu.memory
        if need + share > gpu.memory:
            yield Obstacle(
                "sharing",
                f"{key} needs {need / GB:.1f} GB beside an engine that takes {share / GB:.1f} GB, on a GPU of "
                f"{gpu.memory / GB:.0f} GB",
            )


def _host(host: int, machines: Machines) -> Iterator[Obstacle]:
    largest = max((node.host_memory or 0 for node in machines.nodes), default=0)
    if largest and host > largest:
        yield Obstacle(
            "host",
            f"the training needs {host / GB:.0f} GB of main memory on one machine, and {largest / GB:.0f} GB are there",
        )
