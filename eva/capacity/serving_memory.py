"""The memory of an engine and of a reward model on a GPU, in bytes, and how much an engine writes at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass

from eva.capacity.machines import Gpu
from eva.capacity.shapes import ModelShape
from eva.capacity.training_memory import GpuMemory
from eva.config import PointwiseReward, RewardNetwork, RunConfig
from eva.solver.served_adapters import room_for, served_rank

ENGINE_OVERHEAD = 3 * 10**9
"""What vLLM's graphs, activations and sampler take of an engine's share on each GPU, about."""
REWARD_OVERHEAD = 1.5 * 10**9
"""CUDA's context and the fragmentation of a reward process."""
DEFAULT_SEQUENCES, DEFAULT_SEQUENCES_LARGE = 256, 1024
"""vLLM's own bounds on the sequences of one step in offline use, where eva sets none; see `default_sequences`."""
LARGE_GPU = 70 * 2**30
TEMPLATE_TOKENS = 512


@dataclass(frozen=True, slots=True)
class EngineNeed:
    """One engine. `share`: the bytes that it may use on each of its GPUs; `cache_tokens`: what fits beside the weights,
    on all its GPUs together; `context`: tokens of its longest sequence."""

    need: GpuMemory
    share: float
    cache_tokens: int
    context: int

    @property
    def fits(self) -> bool:
        return self.cache_tokens >= self.context

    def sequences(self, tokens: int) -> int:
        """How many sequences with so many tokens its cache holds."""
        return max(1, self.cache_tokens // max(1, tokens))


def engine_memory(shape: ModelShape, config: RunConfig, gpu: Gpu) -> EngineNeed:
    """What one engine of this run needs on each of its GPUs: weights, overhead, and the cache of one full context."""
    fleet = config.fleet
    parts = max(1, math.ceil(fleet.gpus_per_engine))
    width = 4 if config.model.dtype == "float32" else 2 if config.model.dtype != "auto" else shape.stored
    context = context_tokens(shape, config)
    share = fleet.memory_fraction * gpu.memory
    weights = width * shape.parameters / parts
    per_token = shape.cache_bytes(width) / parts
    adapter = _adapter_bytes(shape, config, width) / parts
    free = share - weights - adapter - ENGINE_OVERHEAD
    need = {"weights": weights, "vLLM": float(ENGINE_OVERHEAD), "cache of one context": context * per_token}
    if adapter:
        need["adapter"] = adapter
    return EngineNeed(
        GpuMemory(need, f"{context:,} tokens; {share / 1e9:.1f} GB is {fleet.memory_fraction:.0%} of a GPU"),
        share,
        max(0, int(free / per_token)),
        context,
    )


def _adapter_bytes(shape: ModelShape, config: RunConfig, width: int) -> float:
    """The room that an engine keeps for the solver's adapter, if it serves one."""
    rank = served_rank(config.training, config.iterations)
    return 0.0 if rank is None else float(width * room_for(rank) * shape.linear_features)


def default_sequences(gpu: Gpu) -> int:
    """How many sequences vLLM works on at once in offline use: more on large GPUs, but for the A100."""
    large = gpu.memory >= LARGE_GPU and "A100" not in gpu.name
    return DEFAULT_SEQUENCES_LARGE if large else DEFAULT_SEQUENCES


def context_tokens(shape: ModelShape, config: RunConfig) -> int:
    """The tokens of an engine's context, as the fleet sets it: a token has at least one character."""
    needed = config.generation.max_tokens + config.evolving.max_chars + TEMPLATE_TOKENS
    return config.fleet.max_model_len or min(needed, shape.max_positions or needed)


def reward_memory(shape: ModelShape, reward: RewardNetwork, gpu: Gpu) -> GpuMemory:
    """What a process of a reward model needs: its weights and the activations of one batch, or its share under vLLM."""
    if isinstance(reward, PointwiseReward) and reward.backend == "vllm":
        return GpuMemory({"share": reward.memory_fraction * gpu.memory}, "memory_fraction of a GPU")
    width = shape.stored if reward.dtype == "auto" else 4 if reward.dtype == "float32" else 2
    inside = reward.batch_tokens * width * (6 * shape.hidden + 3 * shape.intermediate)
    parts = {"weights": float(width * shape.parameters), "activations": float(inside), "CUDA": REWARD_OVERHEAD}
    return GpuMemory(parts, f"{reward.batch_tokens:,} tokens a batch")
