"""How long the stages of an iteration take, by arithmetic: the speed of the hardware times a share that is reached.

- Writing is bound by memory: each step of an engine reads the weights once and the cache of every running sequence.
- Rewarding takes 2 x parameters operations a token, training 8: 6, and 2 for each policy that it compares with.
- Evolving waits for an endpoint: calls x seconds / calls at a time. Where it overlaps with training, only what exceeds
  that counts. Where the run's own engines write the children, it is bound like other writing.
- The switch writes a checkpoint, reads it into the engines, and starts processes. A creator with weights of its own is
  read into the engines, too, and the policy after it.

The shares are those at which the figures of public reports and of our own table come out. Lengths are
assumptions: prompts of 250 tokens, responses of 450. Nothing here was measured on a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from eva.capacity.machines import Gpu, Machines
from eva.capacity.placement import networks
from eva.capacity.serving_memory import default_sequences, engine_memory
from eva.capacity.shapes import ModelShape
from eva.capacity.training_memory import plain_attention, responses_per_row, rows_of, setup_of
from eva.config import (
    EvolInstruct,
    FeedbackEvolver,
    JudgeReward,
    PairwiseReward,
    RewardNetwork,
    RunConfig,
    SelfEvolver,
    TrainedEvolver,
    Training,
)
from eva.config.rewards import replicas_of
from eva.solver.losses import MIXED_POLICIES

PROMPT_TOKENS, RESPONSE_TOKENS = 250, 450
TRAIN_CREATOR = "train creator"
"""The stage in which a creator with weights of its own is updated."""
RECORDED_TOKEN = 8
"""Bytes of a sampled token in a compressed token record, its share of the prompt's ids included."""
WRITING_SHARE = 0.5
REWARD_SHARE = 0.4
TRAINING_SHARE, PLAIN_ATTENTION_SHARE = 0.4, 0.185
CALL_S = 6.0
"""Seconds of one call of an endpoint, with its retries."""
WRITE_BYTES_S, READ_BYTES_S = 0.5e9, 1e9
START_S, START_CPU_S = 120.0, 25.0
"""What starting engines and trainer takes in an iteration, besides reading and writing."""
CPU_WRITING, CPU_TRAINING = 8e9, 40e9
"""Operations per second and core that small models reach on a CPU."""


@dataclass(frozen=True, slots=True)
class StageTime:
    """A stage: its seconds, how many GPUs work meanwhile, and the arithmetic.

    `hidden`: further seconds of it, in which another stage works.
    """

    name: str
    seconds: float
    gpus: float
    arithmetic: str
    hidden: float = 0.0


@dataclass(frozen=True, slots=True)
class Counts:
    """How much an iteration after the warm-up does. `evaluated`: responses to held-out prompts."""

    pool: int
    children: int
    responses: int
    evaluated: int


def counts_of(config: RunConfig, seeds: int, held_out: int) -> Counts:
    """The upper limits of one iteration, as `estimate_cost` has them for the whole run."""
    creator, pool = config.batch_from == "creator", config.prompts.per_iteration or seeds
    children = int(config.sampling.fraction * pool) * config.evolving.per_prompt if creator else 0
    new = min(children, pool - int(config.mixing.buffer * pool)) if creator else pool
    fresh = pool if creator and config.info_from == "fresh" else 0
    evaluated = held_out * (1 + config.evaluation.n) if config.evaluation.when == "each" else 0
    return Counts(pool, children, (fresh + new) * config.generation.n, evaluated)


def stage_times(
    config: RunConfig, policy: ModelShape, rewards: Mapping[str, ModelShape], machines: Machines, counts: Counts
) -> list[StageTime]:
    """The stages of one iteration after the warm-up, in order. Rewarding overlaps with writing: the slower counts."""
    gpu = machines.gpu if config.fleet.gpus_per_engine > 0 else None
    length = _response_tokens(config)
    writing = _writing("write", "responses", counts.responses, length, config, policy, gpu, machines)
    rewarding = _rewarding(counts.responses, config, rewards, machines)
    slower = max(writing, rewarding, key=lambda stage: stage.seconds)
    judge = StageTime(
        "judge",
        slower.seconds,
        (writing.gpus * writing.seconds + rewarding.gpus * rewarding.seconds) / max(slower.seconds, 1e-9),
        f"{writing.arithmetic}; {rewarding.arithmetic}; together, so {slower.name} decides",
    )
    evolving = _evolving(counts.children, config, policy, gpu, machines)
    if config.training.enabled:
        items, each = _items(counts.pool, config), responses_per_row(config)
        training = _training("train", items, each, length, config.training, policy, gpu, machines)
        stages = [judge, _hidden(evolving, training, config), training]
    else:
        stages = [judge, evolving]
    if (learner := _learner(config)) is not None:
        reply = min(RESPONSE_TOKENS, learner.max_tokens)
        stages.append(_training(TRAIN_CREATOR, counts.children, 1, reply, learner.training, policy, gpu, machines))
    stages.append(_switch(policy, config, gpu))
    if counts.evaluated:
        stages.append(_writing("evaluate", "responses", counts.evaluated, length, config, policy, gpu, machines))
    return stages


def engine_speed(policy: ModelShape, config: RunConfig, gpu: Gpu) -> tuple[float, int]:
    """Tokens per second of one engine, and how many sequences it runs at a time."""
    engine, response = engine_memory(policy, config, gpu), _response_tokens(config)
    bound, window = config.fleet.max_sequences or default_sequences(gpu), config.fleet.window
    bound = bound if window == "auto" else min(bound, window * config.generation.n)
    sequences = min(engine.sequences(PROMPT_TOKENS + response), bound)
    parts = max(1.0, config.fleet.gpus_per_engine)
    cached = sequences * (PROMPT_TOKENS + response / 2) * policy.cache_bytes()
    reading = (2.0 * policy.parameters + cached) / (gpu.bandwidth * parts)
    computing = 2.0 * policy.parameters * sequences / (gpu.flops * parts)
    share = WRITING_SHARE * min(1.0, config.fleet.gpus_per_engine)
    return share * sequences / max(reading, computing), sequences


def _writing(
    name: str,
    what: str,
    texts: int,
    length: int,
    config: RunConfig,
    policy: ModelShape,
    gpu: Gpu | None,
    machines: Machines,
) -> StageTime:
    """How long the run's engines write so many texts of this length; `what` the texts are called."""
    tokens = texts * length
    if gpu is None:
        speed = CPU_WRITING * machines.cores / (2.0 * policy.parameters)
        return StageTime(name, tokens / speed, 0, f"{tokens / 1e6:,.1f} M tokens at {speed:,.0f} a second on the CPU")
    speed, sequences = engine_speed(policy, config, gpu)
    engines = config.fleet.engines
    return StageTime(
        name,
        tokens / (engines * speed),
        engines * config.fleet.gpus_per_engine,
        f"{texts:,} {what} x {length} tokens = {tokens / 1e6:,.1f} M, at {engines} engines x "
        f"{speed:,.0f} tokens/s ({sequences} sequences, {WRITING_SHARE:.0%} of {gpu.bandwidth / 1e12:.2f} TB/s)",
    )


def _rewarding(responses: int, config: RunConfig, rewards: Mapping[str, ModelShape], machines: Machines) -> StageTime:
    if isinstance(config.reward, JudgeReward):
        seconds = responses * CALL_S / config.reward.concurrency
        return StageTime(
            "reward",
            seconds,
            0,
            f"{responses:,} calls of a judge at least, x {CALL_S:.0f} s / {config.reward.concurrency} at a time",
        )
    seconds, gpus, shown = 0.0, 0.0, list[str]()
    for key, network in networks("reward", config.reward):
        if (shape := rewards.get(key)) is None:
            continue
        tokens = _tokens_to_reward(network, responses, config)
        replicas, gpu = replicas_of(config.reward), machines.gpu
        if network.gpus > 0 and gpu is not None:
            speed, on = gpu.flops * REWARD_SHARE * min(1.0, network.gpus) * replicas, f"{replicas} x {gpu.name}"
            gpus += network.gpus * replicas
        else:
            speed, on = CPU_TRAINING * machines.cores, "the CPU"
        seconds = max(seconds, tokens * 2.0 * shape.parameters / speed)
        shown.append(f"{tokens / 1e6:,.1f} M tokens x 2 x {shape.parameters / 1e9:.2f} B on {on} at {REWARD_SHARE:.0%}")
    return StageTime("reward", seconds, gpus, "; ".join(shown) or "the reward costs no model's time")


def _tokens_to_reward(network: RewardNetwork, responses: int, config: RunConfig) -> int:
    """Tokens that a reward model reads: each response with its prompt, or each pair of a prompt's responses with it."""
    length, n = _response_tokens(config), config.generation.n
    if isinstance(network, PairwiseReward):
        pairs = responses * (n - 1) // (1 if network.both_orders else 2)
        return pairs * (PROMPT_TOKENS + 2 * length)
    return responses * (PROMPT_TOKENS + length)


def _evolving(children: int, config: RunConfig, policy: ModelShape, gpu: Gpu | None, machines: Machines) -> StageTime:
    evolver, at_once = config.evolving.evolver, config.evolving.chains_at_once
    writer = evolver.writer if isinstance(evolver, FeedbackEvolver) else evolver
    if isinstance(writer, SelfEvolver | TrainedEvolver):
        length = min(RESPONSE_TOKENS, writer.max_tokens)
        return _writing("evolve", "children", children, length, config, policy, gpu, machines)
    if not isinstance(writer, EvolInstruct):
        return StageTime("evolve", 0.0, 0, f"{children:,} children without an endpoint")
    seconds = children * CALL_S / at_once
    return StageTime("evolve", seconds, 0, f"{children:,} calls x {CALL_S:.0f} s / {at_once} at a time")


def _hidden(evolving: StageTime, training: StageTime, config: RunConfig) -> StageTime:
    """The stage of evolving without the time in which the solver is trained on the batch before."""
    if not config.overlaps:
        why = config.overlap_obstacle or "evolving.overlap is false"
        return replace(evolving, arithmetic=f"{evolving.arithmetic}, not during training: {why}")
    if config.pool != "last_batch":
        why = "prompts of the archive that no batch had need the new policy's responses"
        return replace(evolving, arithmetic=f"{evolving.arithmetic}, mostly not during training: {why}")
    if not evolving.seconds:
        return evolving
    hidden = min(evolving.seconds, training.seconds)
    shown = f"{evolving.arithmetic}, {hidden:.0f} s of it during the training on the batch before"
    return replace(evolving, seconds=evolving.seconds - hidden, arithmetic=shown, hidden=hidden)


def _items(prompts: int, config: RunConfig) -> int:
    """What the solver learns from in an iteration: pairs, lists of ranked responses, or single responses."""
    several = config.pairs.choice == "all_vs_best" and not config.training.ranked
    return prompts * (config.generation.n - 1 if several else config.rows_per_prompt)


def _training(
    name: str,
    items: int,
    each: int,
    response: int,
    training: Training,
    policy: ModelShape,
    gpu: Gpu | None,
    machines: Machines,
) -> StageTime:
    """How long a training takes on so many items of `each` responses with so many tokens."""
    taken = training.max_steps * training.batch if training.max_steps else int(items * training.epochs)
    rows, length = taken * each, min(PROMPT_TOKENS + response, training.max_length)
    passes = 6 + 2 * _references(training)
    operations = float(passes * policy.parameters * rows * length)
    size = f"{policy.parameters / 1e9:.2f} B"
    shown = f"{rows:,} rows x {length} tokens x {passes} x {size} = {operations:.1e} operations"
    if gpu is None:
        seconds = operations / (CPU_TRAINING * machines.cores)
        return StageTime(name, seconds, 0, f"{shown}, at {CPU_TRAINING / 1e9:.0f} G/s a core")
    setup = setup_of(training, each)
    plain = plain_attention(policy, setup)
    share = PLAIN_ATTENTION_SHARE if plain else TRAINING_SHARE
    seconds = operations / (gpu.flops * share * training.devices)
    where = f"{training.devices} x {gpu.flops / 1e12:.0f} TFLOP/s at {share:.0%}" + (
        " (plain attention)" if plain else ""
    )
    return StageTime(name, seconds, training.devices, f"{shown}, on {where}, {rows_of(setup)} rows at a time")


def _references(training: Training) -> int:
    """How many policies score what is trained on, besides the one that is trained; of an optimistic loss, at most."""
    if training.facts.optimistic:
        return MIXED_POLICIES
    if training.facts.reference_free:
        return 0
    return 2 if training.compares_with_initial else 1


def _switch(policy: ModelShape, config: RunConfig, gpu: Gpu | None) -> StageTime:
    size, start = stored_bytes(policy, config), START_CPU_S if gpu is None else START_S
    written, read = 1 if _learner(config) is None else 2, 1 if config.evolving.creator is None else 3
    seconds = written * size / WRITE_BYTES_S + read * size / READ_BYTES_S + written * start
    speeds = (
        f"written {_times(written)}at {WRITE_BYTES_S / 1e9:g} GB/s, read {_times(read)}at {READ_BYTES_S / 1e9:g} GB/s"
    )
    shown = f"{size / 1e9:,.2f} GB {speeds}, {_times(written)}{start:.0f} s to start"
    return StageTime("switch", seconds, 0, shown)


def _times(count: int) -> str:
    return "" if count == 1 else f"{count} x "


def _learner(config: RunConfig) -> TrainedEvolver | None:
    """The creator that is trained in each iteration, if there is one."""
    creator = config.evolving.creator
    return None if creator is None or creator.frozen else creator


def stored_bytes(policy: ModelShape, config: RunConfig) -> int:
    """The size of one checkpoint."""
    named = {"float32": 4, "bfloat16": 2, "float16": 2}
    automatic = policy.stored if config.fleet.gpus_per_engine > 0 else 4
    return policy.parameters * named.get(config.training.checkpoint_dtype, automatic)


def record_bytes(config: RunConfig, counts: Counts) -> int:
    """The size of the token records that exist at a time: those of the running iteration, and of those kept."""
    keep, learner = config.rollouts.keep, _learner(config)
    kept = config.iterations if keep == "all" else min(config.iterations, 1 + (0 if keep == "needed" else keep))
    tokens = counts.responses * _response_tokens(config) if config.records_tokens else 0
    tokens += 0 if learner is None else counts.children * min(RESPONSE_TOKENS, learner.max_tokens)
    return kept * tokens * RECORDED_TOKEN


def _response_tokens(config: RunConfig) -> int:
    return min(RESPONSE_TOKENS, config.generation.max_tokens)
