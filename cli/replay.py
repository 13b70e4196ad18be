"""A replay: an iteration's estimate and sample stages redone on stored rewards, with other settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, cast

import numpy as np
from sqlalchemy import Connection

from eva.config import RunConfig
from eva.config.files import validate
from eva.creator.informativeness import estimate
from eva.creator.mixing import share_of
from eva.creator.operators.choice import FLOOR, operator_probabilities
from eva.creator.sampling import Draw, sample
from eva.creator.steering import UNSTEERED, Steering, steering_of
from eva.errors import NotFoundError
from eva.types import Estimate, Prompt
from orchestrator.stages.gain import operator_record
from store.game import pools, prompts
from store.rows import RunRow
from store.runs import stages
from store.session import Store
from store.views import statistics
from workers.rewards import model_class

REPLAYED = {
    "metric": ("informativeness", "metric"),
    "threshold": ("informativeness", "threshold"),
    "weights": ("sampling", "weights"),
    "temperature": ("sampling", "temperature"),
    "sampler": ("sampling", "sampler"),
    "topic_share": ("sampling", "topic_share"),
    "staleness": ("sampling", "staleness"),
    "pull": ("novelty", "pull"),
    "fraction": ("sampling", "fraction"),
    "choice": ("evolving", "choice"),
    "floor": ("evolving", "floor"),
    "breadth": ("evolving", "breadth"),
}
"""Setting that a replay may change, besides the seed: its section and key in the config."""

BELONGS = {"metric": "threshold", "weights": "temperature", "sampler": "topic_share", "choice": "floor"}
"""Setting: the option that belongs to its old value and is reset when the value changes."""


def with_changes(stored: Mapping[str, Any], changes: Mapping[str, Any]) -> RunConfig:
    """The run's config with these settings changed. Raises ConfigError if they do not fit together."""
    sections = {section for section, _ in REPLAYED.values()}
    values = {**stored, **{name: {**cast("dict[str, Any]", stored[name])} for name in sections}}
    for name, value in changes.items():
        if name == "seed":
            values["seed"] = value
            continue
        section, key = REPLAYED[name]
        if name in BELONGS and values[section][key] != value and BELONGS[name] not in changes:
            values[section][BELONGS[name]] = None
        values[section][key] = value
    return validate(values)


def replay(store: Store, run: RunRow, config: RunConfig, iteration: int | None, examples: int) -> dict[str, Any]:
    """The facts of a replay, as --json prints them. Raises NotFoundError if the run or iteration sampled nothing."""
    with store.transaction() as conn:
        drawn = pools.read_drawn_iterations(conn, run.id)
    if not drawn or (iteration is not None and iteration not in drawn):
        raise NotFoundError(
            f"run {run.name} sampled no prompts" + ("" if iteration is None else f" in iteration {iteration}"),
            expected=f"one of the iterations {', '.join(map(str, drawn))}" if drawn else "a run that has sampled",
            next_move="Choose one of them" if drawn else "Let the run play an iteration after its warm-up first",
        )
    stored = RunConfig.model_validate(run.config)
    return {
        "run": run.name,
        "stored": _choices(stored),
        "replayed": _choices(config),
        "iterations": [
            _iteration(store, run, config, number, examples) for number in (drawn if iteration is None else [iteration])
        ],
    }


def _choices(config: RunConfig) -> dict[str, Any]:
    return {name: getattr(getattr(config, section), key) for name, (section, key) in REPLAYED.items()} | {
        "seed": config.seed
    }


def _iteration(store: Store, run: RunRow, config: RunConfig, iteration: int, examples: int) -> dict[str, Any]:
    with store.transaction() as conn:
        then = pools.read_draw(conn, run.id, iteration)
        answered_by = {row.prompt: row.checkpoint for row in then.rows}
        rewarder = model_class(config.reward).name_of(config.reward)
        judged = pools.read_rewards_by_policy(conn, run.id, rewarder, [*answered_by], answered_by, config.generation.n)
        traits = pools.read_traits(conn, run.id, judged, iteration)
        pool = {prompt.number: prompt for prompt in prompts.read_prompts(conn, run.id, [*answered_by])}
        figures = statistics.get_statistics(conn, run.id, "diversity")
        steered = statistics.get_statistics(conn, run.id, "steering").get(iteration)
        rule = config.collapse.rule
        earlier = [figures[before] for before in sorted(figures) if before < iteration]
        steering = UNSTEERED if rule is None else steering_of(rule, earlier)
        operators = _operator_choice(conn, run, config, iteration, steering)
    estimated = estimate(
        judged,
        metric=config.informativeness.metric,
        threshold=config.informativeness.threshold,
        keep_cut=config.generation.keep_cut,
    )
    draw = sample(
        estimated,
        share_of(config.sampling.fraction, then.size),
        config.sampling_rule(steering.temperature),
        seed=config.seed,
        iteration=iteration,
        traits=traits,
    )
    regret = estimate(judged, keep_cut=config.generation.keep_cut)
    chosen = {row.prompt for row in then.rows if row.sampled}
    return (
        {
            "iteration": iteration,
            "pool": len(pool),
            "identical": _identical(then, draw),
            "left_out": estimated.counts(),
            "operator_choice": operators,
            "steering": {"then": steered, "now": asdict(steering) if rule is not None else None},
        }
        | _compared(pool, chosen, set(draw.subset), regret)
        | {
            "only_now": _examples(set(draw.subset) - chosen, pool, estimated, examples),
            "only_then": _examples(chosen - set(draw.subset), pool, estimated, examples),
        }
    )


def _operator_choice(
    conn: Connection, run: RunRow, config: RunConfig, iteration: int, steering: Steering
) -> list[dict[str, Any]]:
    """Each operator's probability then and now, and what is believed of it. Empty if no child was asked for."""
    counts = {(row.iteration, row.name): row.counts for row in stages.read_stages(conn, run.id)}
    asked: Mapping[str, Any] = counts.get((iteration, "evolve"), {}).get("per_operator", {})
    stored = {
        row["operator"]: row["probability"]
        for row in statistics.get_statistics(conn, run.id, "operator_choice").get(iteration, [])
    }
    names = tuple(stored) or tuple(config.evolving.operators or sorted(asked))
    if not names:
        return []
    record = operator_record(conn, run.id, config, iteration, names)
    floor = FLOOR if config.evolving.floor is None else config.evolving.floor
    breadth = min(1.0, config.evolving.breadth + steering.breadth)
    beliefs = operator_probabilities(config.evolving.choice, record, floor, breadth)
    return [asdict(row) | {"then": stored.get(row.operator, 1 / len(names))} for row in beliefs]


def _identical(then: pools.StoredDraw, draw: Draw) -> bool:
    """Whether the draw equals the stored one bit for bit: prompts, weights and keys."""
    stored = np.array(
        [[np.nan if value is None else value for value in (row.weight, row.key, row.sampled)] for row in then.rows],
        dtype=np.float64,
    ).reshape(-1, 3)
    return np.array_equal(stored, np.column_stack([draw.weights_P, draw.keys_P, draw.sampled_P]), equal_nan=True)


def _compared(pool: Mapping[int, Prompt], then: set[int], now: set[int], regret: Estimate) -> dict[str, Any]:
    """Counts of chosen prompts, and their share of the regret: the sum of a_min over them, by that over the pool."""
    gaps = dict(zip(regret.numbers_P.tolist(), np.nan_to_num(regret.info_P).tolist(), strict=True))
    mass = sum(gaps.values())
    return {
        "chosen": {"then": len(then), "now": len(now), "both": len(then & now)},
        "overlap": len(then & now) / len(now) if now else None,
        "overlap_by_chance": len(then) / len(pool) if pool else None,
        "regret_share": {
            name: sum(gaps[number] for number in some) / mass if mass else None
            for name, some in (("then", then), ("now", now))
        },
        "operators": _counted(pool, then, now, {number: prompt.operator or "seed" for number, prompt in pool.items()}),
        "topics": _counted(pool, then, now, {number: prompt.topic or "none" for number, prompt in pool.items()}),
    }


def _counted(pool: Iterable[int], then: set[int], now: set[int], kinds: Mapping[int, str]) -> dict[str, dict[str, int]]:
    """Kind: how many prompts of the pool, chosen then and chosen now; most frequent in the pool first."""
    counted = {
        name: Counter(kinds[number] for number in some) for name, some in (("pool", pool), ("then", then), ("now", now))
    }
    return {
        kind: {name: counts[kind] for name, counts in counted.items()}
        for kind, _ in sorted(counted["pool"].items(), key=lambda item: (-item[1], item[0]))
    }


def _examples(numbers: set[int], pool: Mapping[int, Prompt], estimated: Estimate, count: int) -> list[dict[str, Any]]:
    """The most informative of these prompts."""
    info = dict(zip(estimated.numbers_P.tolist(), estimated.info_P.tolist(), strict=True))
    # NaN, for prompts without info, sorts last
    order = sorted(numbers, key=lambda number: (info[number] != info[number], -np.nan_to_num(info[number]), number))
    return [
        {
            "number": number,
            "info": None if info[number] != info[number] else info[number],
            "operator": pool[number].operator,
            "topic": pool[number].topic,
            "text": pool[number].text,
        }
        for number in order[:count]
    ]
