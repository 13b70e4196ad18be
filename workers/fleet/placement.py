"""The resources, settings and Ray actor of an engine."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import ray

from eva.config import RunConfig
from eva.errors import ModelError
from eva.solver.served_adapters import served_rank
from workers.cluster.environment import engine_environment
from workers.cluster.room import Room
from workers.evolvers.context_need import fleet_needs
from workers.fleet.adapter_room import AdapterRoom
from workers.fleet.engine import Engine, EngineSetup
from workers.models.chat_template import read_prompting
from workers.models.model_folder import ModelFacts

# Below this size a second thread costs more than it saves (measured on 2 cores).
ONE_THREAD_BYTES = 100 * 2**20
# Sequences of one step on a CPU: more would only wait for memory bandwidth.
CPU_SEQUENCES = 256
TEMPLATE_TOKENS = 512
POLLS = "polls"
"""The concurrency group of an engine's `poll`: all other calls are handled one after the other beside it."""


@dataclass(frozen=True, slots=True)
class EngineResources:
    """What one engine gets of a machine. `cpus` is what Ray reserves, `threads` what the engine uses."""

    gpus: float
    cpus: float
    threads: int

    def reserve(self) -> Room:
        """Asks the cluster's machines for room for one engine."""
        return Room({"GPU": self.gpus, "CPU": self.cpus})


def engine_resources(config: RunConfig, facts: ModelFacts) -> EngineResources:
    """Returns the resources of each engine of this run."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    fleet = config.fleet
    threads = 1 if facts.bytes < ONE_THREAD_BYTES else max(1, cores // fleet.engines)
    if fleet.gpus_per_engine > 0:
        return EngineResources(fleet.gpus_per_engine, 1, 1)
    # On one machine engines and training take turns on the cores: a reservation would lock the training out. On
    # several machines it spreads the engines.
    alone = sum(bool(node["Alive"]) for node in ray.nodes()) == 1
    return EngineResources(0, 0 if alone else threads, threads)


def context_length(config: RunConfig, facts: ModelFacts, conversation: int = 0) -> int:
    """Returns the length of an engine's context, tokens: enough for prompts and responses, and for the instructions of
    an evolver that uses the fleet; at most the model's own context.

    A token has at least one character, so `evolving.max_chars` bounds a prompt; `conversation` is the most tokens that
    come before it. Raises ModelError if the tokens of a response or of the evolver's reply alone do not fit.
    """
    instruction, reply = fleet_needs(config.evolving, conversation)
    answering = conversation + config.generation.max_tokens + config.evolving.max_chars
    needed = max(answering, instruction + reply) + TEMPLATE_TOKENS
    length = config.fleet.max_model_len or min(needed, facts.max_positions or needed)
    for name, tokens in (
        ("generation.max_tokens", config.generation.max_tokens),
        ("max_tokens of the evolver that uses the fleet", reply),
    ):
        if length <= tokens:
            raise ModelError(
                f"{name} {tokens} leaves no room for a prompt",
                expected=f"less than the engines' context of {length} tokens",
                next_move=f"Lower {name}, or raise fleet.max_model_len if the model allows",
            )
    return length


def engine_setup(config: RunConfig, facts: ModelFacts, conversation: int = 0) -> EngineSetup:
    """Returns the settings of this run's engines. For `conversation` see `context_length`."""
    fleet, on_cpu = config.fleet, config.fleet.gpus_per_engine == 0
    dtype = config.model.dtype
    lora, rank = config.training.lora, served_rank(config.training, config.iterations)
    return EngineSetup(
        prompting=read_prompting(config.model),
        dtype="float32" if dtype == "auto" and on_cpu else dtype,
        max_model_len=context_length(config, facts, conversation),
        enforce_eager=on_cpu if fleet.enforce_eager is None else fleet.enforce_eager,
        max_sequences=fleet.max_sequences or (CPU_SEQUENCES if on_cpu else None),
        gpus=fleet.gpus_per_engine,
        cpu_cache_gb=fleet.cpu_cache_gb,
        memory_fraction=fleet.memory_fraction,
        step_tokens=fleet.step_tokens,
        kv_cache_dtype=fleet.kv_cache_dtype,
        adapters=None if lora is None or rank is None else AdapterRoom(rank, lora.targets),
    )


def start_engine(setup: EngineSetup, resources: EngineResources, room: Room | None = None) -> Any:
    """Starts an actor around an `Engine` without a model, in `room`. Returns at once, while the actor imports vLLM."""
    placed: dict[str, Any] = {} if room is None else room.options()
    compiles = setup.gpus > 0 or not setup.enforce_eager
    # A poll waits for results; it must not keep requests from arriving.
    remote: Any = ray.remote
    return (
        remote(concurrency_groups={POLLS: 1})(Engine)
        .options(
            num_cpus=resources.cpus,
            num_gpus=resources.gpus,
            max_restarts=0,
            max_task_retries=0,
            runtime_env={"env_vars": engine_environment(resources.threads, compiles=compiles)},
            **placed,
        )
        .remote(setup)
    )
