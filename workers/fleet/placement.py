"""What an engine gets of a machine and of the model's context, and the Ray actor around it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import ray

# What is free in the cluster's sum may lie on several machines; Ray has no public name for this.
from ray._private.state import available_resources_per_node

from eva.config import RunConfig
from eva.errors import ModelError
from workers.cluster.environment import engine_environment
from workers.evolvers.context_need import fleet_needs
from workers.fleet.engine import Engine, EngineSetup
from workers.models.chat_template import read_prompting
from workers.models.model_folder import ModelFacts

# Below this a second thread costs more in hand-overs than it saves in arithmetic (measured on 2 cores).
ONE_THREAD_BYTES = 100 * 2**20
# Sequences of one step on a CPU; more only wait for memory bandwidth.
CPU_SEQUENCES = 256
TEMPLATE_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Seat:
    """What one engine gets of a machine. `cpus` is what Ray reserves, `threads` what the engine computes with."""

    gpus: float
    cpus: float
    threads: int


def seat(config: RunConfig, facts: ModelFacts) -> Seat:
    """How an engine of this run is placed."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    fleet = config.fleet
    threads = 1 if facts.bytes < ONE_THREAD_BYTES else max(1, cores // fleet.engines)
    if fleet.gpus_per_engine > 0:
        return Seat(fleet.gpus_per_engine, 1, 1)
    # On one machine the engines share the cores with the training, which runs while they rest: a reservation
    # would only lock it out. On several it spreads the engines.
    alone = sum(bool(node["Alive"]) for node in ray.nodes()) == 1
    return Seat(0, 0 if alone else threads, threads)


def no_room(seat: Seat) -> str | None:
    """Why no machine can take one more engine now; None where one can, as far as its free resources say."""
    needed = {name: amount for name, amount in (("GPU", seat.gpus), ("CPU", seat.cpus)) if amount > 0}
    free: dict[str, dict[str, float]] = available_resources_per_node()
    if any(all(node.get(name, 0) >= amount for name, amount in needed.items()) for node in free.values()):
        return None
    most = [
        f"{name} {amount:g} needed, {max((node.get(name, 0) for node in free.values()), default=0):g} free at most"
        for name, amount in needed.items()
    ]
    return f"{'; '.join(most)}, but no machine of {len(free)} has all of it"


def context_length(config: RunConfig, facts: ModelFacts, conversation: int = 0) -> int:
    """Tokens of an engine's context: what prompts and responses can need, and the instructions of an evolver that asks
    the fleet; the model's own at most.

    A token is a character at least, so `evolving.max_chars` bounds a prompt, and the `conversation` before it is so
    many tokens at most. Raises ModelError if the tokens of a response or of the evolver's reply alone do not fit.
    """
    instruction, reply = fleet_needs(config.evolving, conversation)
    answering = conversation + config.generation.max_tokens + config.evolving.max_chars
    needed = max(answering, instruction + reply) + TEMPLATE_TOKENS
    length = config.fleet.max_model_len or min(needed, facts.max_positions or needed)
    for name, tokens in (
        ("generation.max_tokens", config.generation.max_tokens),
        ("max_tokens of the evolver that asks the fleet", reply),
    ):
        if length <= tokens:
            raise ModelError(
                f"{name} {tokens} leaves no room for a prompt",
                expected=f"less than the engines' context of {length} tokens",
                next_move=f"Lower {name}, or raise fleet.max_model_len if the model allows",
            )
    return length


def engine_setup(config: RunConfig, facts: ModelFacts, conversation: int = 0) -> EngineSetup:
    """The settings of this run's engines; `conversation` as in `context_length`."""
    fleet, on_cpu = config.fleet, config.fleet.gpus_per_engine == 0
    dtype = config.model.dtype
    return EngineSetup(
        prompting=read_prompting(config.model),
        dtype="float32" if dtype == "auto" and on_cpu else dtype,
        max_model_len=context_length(config, facts, conversation),
        enforce_eager=on_cpu if fleet.enforce_eager is None else fleet.enforce_eager,
        max_sequences=CPU_SEQUENCES if on_cpu else None,
        gpus=fleet.gpus_per_engine,
        cpu_cache_gb=fleet.cpu_cache_gb,
        memory_fraction=fleet.memory_fraction,
    )


def start_engine(setup: EngineSetup, seat: Seat) -> Any:
    """An actor around an `Engine`, without a model yet. Returns at once; vLLM is imported meanwhile."""
    actor = ray.remote(Engine).options(
        num_cpus=seat.cpus,
        num_gpus=seat.gpus,
        max_restarts=0,
        max_task_retries=0,
        runtime_env={"env_vars": engine_environment(seat.threads)},
    )
    return actor.remote(setup)
