"""What a run would cost, from its config and the number of its prompts, with the arithmetic shown: an upper bound.

GPU-hours are a rule of thumb for one A100-class device (312 TFLOP/s in bfloat16): a token takes 2 x parameters
operations to write, at 15 % of that speed with a full window; 8 x parameters to train on, with a frozen reference, at
35 %.
"""

from __future__ import annotations

from dataclasses import dataclass

from eva.config import RunConfig

FLOPS = 312e12
WRITING, WRITING_SHARE = 2, 0.15
TRAINING, TRAINING_SHARE = 8, 0.35
WEIGHT_BYTES = 4
TEMPLATE_TOKENS = 400
"""Tokens of an evolver's instructions, about."""


@dataclass(frozen=True, slots=True)
class Prices:
    """USD per token of an evolver's model."""

    prompt: float
    reply: float


def estimate_cost(
    config: RunConfig, seeds: int, held_out: int, parameters: int | None = None, prices: Prices | None = None
) -> list[str]:
    """Returns lines for people with upper limits. GPU-hours need `parameters`, prices in USD need `prices`.

    The gate's probes are not counted.
    """
    n, pool = config.generation.n, config.prompts.per_iteration or seeds
    creator = config.batch_from == "creator"
    sampled = int(config.sampling.fraction * pool) if creator else 0
    children = sampled * config.evolving.per_prompt
    new = min(children, pool - int(config.mixing.buffer * pool)) if creator else pool
    fresh = pool if creator and config.info_from == "fresh" else 0
    warm_up = f"{pool * n:,} in the warm-up, " if config.warm_start else ""
    training = config.training
    rows = pool * config.rows_per_prompt
    steps = training.max_steps or -(-int(rows * training.epochs) // training.batch)
    steps = min(steps, training.step_limit or steps)
    later = config.iterations - int(config.warm_start)
    policies = {"each": config.iterations + 1, "end": 2, "last": 1, "never": 0}[config.evaluation.when]
    evaluated = held_out * (1 + config.evaluation.n) * policies
    responses = pool * n * int(config.warm_start) + later * (fresh + new) * n + evaluated
    return [
        f"{seeds:,} seed prompts, {config.iterations} iterations{', the first a warm-up' * config.warm_start}",
        f"responses per iteration, {n} per prompt: {warm_up}then at most {(fresh + new) * n:,}",
        f"children per iteration: {children:,} at most, from {sampled:,} sampled prompts"
        if creator
        else f"no creator: every iteration trains on {_same_or_new(config, pool)}",
        f"{_noun(config)} per iteration: {rows:,} at most; optimiser steps: {steps:,} at most",
        *_chunks(pool, config, parameters),
        f"responses to held-out prompts, in total: {evaluated:,}",
        *_writing(responses, config.generation.max_tokens, parameters),
        *_training(steps * config.iterations if config.training.enabled else 0, config, parameters),
        *_evolving(children * later, config, prices),
    ]


def _same_or_new(config: RunConfig, pool: int) -> str:
    return "all seed prompts" if config.batch_from == "same_prompts" else f"the next {pool:,} seed prompts"


def gpu_hours(tokens: int, parameters: int, operations: int, share: float) -> float:
    """Returns the hours that one device needs for this many tokens."""
    return tokens * parameters * operations / (FLOPS * share) / 3600


def _writing(responses: int, limit: int, parameters: int | None) -> list[str]:
    tokens = responses * limit
    line = f"tokens to generate: {responses:,} responses x {limit:,} = {tokens:,} at most"
    return [line + _hours(tokens, parameters, WRITING, WRITING_SHARE)]


def _chunks(pool: int, config: RunConfig, parameters: int | None) -> list[str]:
    size = config.chunk_prompts
    if size is None:
        return []
    chunks = max(1, -(-pool // size))
    line = (
        f"chunks per iteration: {chunks:,} of {min(size, pool):,} prompts, {config.training.sync_every:,} steps each; "
        f"hand-overs to the engines: {chunks - 1:,}"
    )
    if chunks == 1:
        return [line + ", because a whole batch fits into a chunk"]
    if parameters is None:
        return [line]
    size_gb = parameters * WEIGHT_BYTES / 1e9
    written_gb = (chunks - 1) * size_gb
    return [f"{line}, {size_gb:.2g} GB in float32 each; written: {written_gb:.2g} GB, which every engine reads"]


def _training(steps: int, config: RunConfig, parameters: int | None) -> list[str]:
    each = 1 if config.training.facts.online else 2
    rows, length = steps * config.training.batch * each, config.training.max_length
    times = "" if each == 1 else f" x {each}"
    line = (
        f"tokens to train on: {steps:,} steps x {config.training.batch} {_noun(config)}{times} x {length:,} = "
        f"{rows * length:,} at most"
    )
    return [line + _hours(rows * length, parameters, TRAINING, TRAINING_SHARE)]


def _noun(config: RunConfig) -> str:
    """What the training counts in its batches."""
    return "responses" if config.training.facts.online else "pairs"


def _hours(tokens: int, parameters: int | None, operations: int, share: float) -> str:
    if parameters is None:
        return ""
    hours = gpu_hours(tokens, parameters, operations, share)
    return (
        f"; x {operations} x {parameters:,} parameters / ({share:.0%} of {FLOPS / 1e12:.0f} TFLOP/s) = "
        f"{hours:.2g} GPU-hours"
    )


def _evolving(children: int, config: RunConfig, prices: Prices | None) -> list[str]:
    limit = getattr(config.evolving.evolver, "max_tokens", None)
    if limit is None:
        return []
    attempts = config.evolving.attempts
    prompt = TEMPLATE_TOKENS + limit
    line = (
        f"evolver: {children:,} requests if no child is refused, x {attempts} at most; tokens at most: "
        f"{children:,} x ({TEMPLATE_TOKENS} + {limit} prompt, {limit} reply) = {children * (prompt + limit):,}"
    )
    if prices is None:
        return [line]
    cost = children * (prompt * prices.prompt + limit * prices.reply)
    price = (
        f"evolver's price: {children:,} x ({prompt} x ${prices.prompt * 1e6:g} + {limit} x "
        f"${prices.reply * 1e6:g}) / 1,000,000 = ${cost:,.2f} if no child is refused, "
        f"${cost * attempts:,.2f} at most"
    )
    return [line, price]
