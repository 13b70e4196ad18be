"""The summary of a run, read from the store alone: at any time, while the run plays or years later."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from sqlalchemy import Connection

from eva.config import RunConfig
from eva.config.run import Collapse
from eva.measures.diversity import breaches
from eva.measures.statistics import clustered_wilson, mean_interval, paired_interval
from eva.runtime.redaction import redact_json, secrets_of
from store.rows import JsonObject, RunRow, StageRow
from store.runs import runs, stages
from store.views import report, statistics
from store.views.report import HeldoutChange, HeldoutScore, TrainingEnd
from store.views.summary.examples import family, heldout_example, info_by_operations
from store.views.summary.schema import (
    SCHEMA,
    Audit,
    BatchSizes,
    BeforeAfter,
    BoundBreach,
    CategoryFigures,
    Children,
    CreatorStep,
    Diversity,
    ForkOrigin,
    Interval,
    Iteration,
    ModeChange,
    RunState,
    RunSummary,
    Score,
    SetChange,
    SetScores,
    StageProgress,
    SteeringFacts,
    Timings,
    Weighed,
    WinRate,
    read_part,
    read_summary,
    summary_json,
)


def summary_of(conn: Connection, run: RunRow, rewarder: str) -> RunSummary:
    """Everything that `eva show`, `eva run` and `eva demo` tell of a run, finished or not, without its secrets.

    `rewarder` is the name under which the rewards that decide the run are stored.
    """
    config = RunConfig.model_validate(run.config)
    scores = report.heldout_scores(conn, run.id, config.evaluation.success)
    begun = stages.read_stages(conn, run.id)
    origin = None if run.forked_from is None else runs.get_run(conn, run.forked_from)
    summary = RunSummary(
        schema=SCHEMA,
        run=_run(run, config, begun, origin),
        heldout=_heldout(scores, report.heldout_changes(conn, run.id, config.evaluation.success)),
        win_rates=_win_rates(conn, run.id),
        iterations=_iterations(conn, run, config, begun, scores),
        family=family(conn, run.id, rewarder),
        example=heldout_example(conn, run.id, scores, config.evaluation.success),
        operations=info_by_operations(conn, run.id, config),
        timings=_timings(run, begun),
    )
    return read_summary(redact_json(summary_json(summary), secrets_of(run.config, os.environ)))


def _run(run: RunRow, config: RunConfig, begun: Sequence[StageRow], origin: RunRow | None) -> RunState:
    stage = next((stage for stage in reversed(begun) if stage.status != "done"), None)
    return RunState(
        name=run.name,
        status=run.status,
        error=run.error,
        iteration=run.iteration,
        iterations=config.iterations,
        stage=stage and StageProgress(stage.name, stage.done, stage.total),
        seed=run.seed,
        forked_from=origin and ForkOrigin(origin.name, run.forked_at),
        prompts=run.prompt_count,
        model=config.model.path,
        reward=config.reward.kind,
        metric=config.informativeness.metric,
        loss=config.training.loss,
        success=config.evaluation.success,
        config_hash=run.config_hash,
        created_at=run.created_at.isoformat(),
        started_at=run.started_at.isoformat() if run.started_at else None,
        finished_at=run.finished_at.isoformat() if run.finished_at else None,
    )


def _heldout(scores: Sequence[HeldoutScore], changes: Sequence[HeldoutChange]) -> dict[str, BeforeAfter]:
    """Each set before and after, easiest first; `after` is None until a new checkpoint is evaluated."""
    last = max((score.checkpoint for score in scores), default=0)
    by_set = {
        name: BeforeAfter(
            _set_scores(scores, 0, name),
            _set_scores(scores, last, name) if last else None,
            _set_change([change for change in changes if (change.checkpoint, change.split) == (last, name)]),
        )
        for name in dict.fromkeys(score.split for score in scores)
    }
    return dict(sorted(by_set.items(), key=lambda item: (-_greedy_reward(item[1].before), item[0])))


def _set_change(changes: Sequence[HeldoutChange]) -> SetChange | None:
    by_mode = {change.mode: _mode_change(change) for change in changes}
    return SetChange(by_mode.get("greedy"), by_mode.get("sampled")) if by_mode else None


def _mode_change(change: HeldoutChange) -> ModeChange:
    accuracy = paired_interval(change.accuracy, change.squares, change.items, change.samples)
    value = change.reward
    reward = None if value is None else mean_interval(value, change.reward_deviation, change.rewarded)
    return ModeChange(
        change.items,
        Interval(change.accuracy, *accuracy),
        None if value is None or reward is None else Interval(value, *reward),
    )


def _greedy_reward(scores: SetScores | None) -> float:
    return (scores.greedy.reward if scores and scores.greedy else None) or 0.0


def _set_scores(scores: Sequence[HeldoutScore], checkpoint: int, name: str) -> SetScores | None:
    by_mode = {score.mode: _score(score) for score in scores if score.checkpoint == checkpoint and score.split == name}
    return SetScores(checkpoint, by_mode.get("greedy"), by_mode.get("sampled")) if by_mode else None


def _score(score: HeldoutScore) -> Score:
    low, high = clustered_wilson(score.correct, score.n, score.items, score.deviation)
    return Score(
        accuracy=score.correct / score.n,
        low=low,
        high=high,
        n=score.n,
        correct=score.correct,
        reward=score.reward,
        reward_error=None if score.reward_deviation is None else score.reward_deviation / score.rewarded_items**0.5,
        binary=score.binary,
    )


def _win_rates(conn: Connection, run_id: int) -> dict[str, tuple[WinRate, ...]]:
    """By set, the figures of every policy that was compared with its baseline, in the order of the checkpoints."""
    by_set: dict[str, list[WinRate]] = {}
    for compared in statistics.get_statistics(conn, run_id, "win_rates").values():
        for name, figures in compared.items():
            own = next((score for score in figures["arena"] if score["checkpoint"] == figures["checkpoint"]), None)
            by_set.setdefault(name, []).append(read_part(WinRate, {**figures, "elo": own and own["elo"]}))
    return {name: tuple(rows) for name, rows in sorted(by_set.items())}


def _iterations(
    conn: Connection, run: RunRow, config: RunConfig, begun: Sequence[StageRow], scores: Sequence[HeldoutScore]
) -> tuple[Iteration, ...]:
    pools, batches, costs, diversity, audits, steered, categories = (
        statistics.get_statistics(conn, run.id, name)
        for name in ("pool", "batch", "cost", "diversity", "audit", "steering", "categories")
    )
    ends, sizes = report.training_ends(conn, run.id), report.batch_sizes(conn, run.id)
    sets = sorted({score.split for score in scores})
    return tuple(
        replace(
            _iteration(
                number,
                config,
                [stage for stage in begun if stage.iteration == number],
                pool=pools.get(number) or batches.get(number) or {},
                batch=batches.get(number) or {},
                sizes=sizes.get(number),
                end=ends.get(number + 1),
                cost=costs.get(number) or {},
                diversity=diversity.get(number),
                audit=audits.get(number),
                steering=steered.get(number),
                heldout={name: at for name in sets if (at := _set_scores(scores, number + 1, name))},
            ),
            categories=_categories(categories.get(number)),
        )
        for number in sorted({stage.iteration for stage in begun})
    )


def _categories(stored: Sequence[JsonObject] | None) -> tuple[CategoryFigures, ...] | None:
    return None if stored is None else tuple(read_part(CategoryFigures, row) for row in stored)


def _iteration(
    number: int,
    config: RunConfig,
    begun: Sequence[StageRow],
    *,
    pool: JsonObject,
    batch: JsonObject,
    sizes: tuple[int, int] | None,
    end: TrainingEnd | None,
    cost: JsonObject,
    diversity: JsonObject | None,
    audit: JsonObject | None,
    steering: JsonObject | None,
    heldout: Mapping[str, SetScores],
) -> Iteration:
    """One iteration; `pool` and `batch` hold the statistics of those prompts, `sizes` the children and the buffer."""
    counts = {stage.name: stage.counts for stage in begun if stage.status == "done"}
    evolved, paired, trained = counts.get("evolve"), counts.get("pair", {}), counts.get("train", {})
    weighed, earned = counts.get("advantage"), counts.get("reward_creator")
    return Iteration(
        iteration=number,
        warm_up=number == 0 and config.warm_start,
        prompts=pool.get("prompts"),
        reward_mean=pool.get("reward_mean"),
        reward_best=pool.get("reward_best"),
        reward_worst=pool.get("reward_worst"),
        info_mean=pool.get("info_mean"),
        degenerate=pool.get("degenerate") or {},
        sampled=counts.get("sample", {}).get("sampled"),
        children=Children(evolved.get("accepted"), evolved.get("refused") or {}, evolved.get("given_up"))
        if evolved
        else None,
        batch=sizes and BatchSizes(0 if evolved is None else sizes[0], sizes[1], sum(sizes)),
        batch_reward_mean=batch.get("reward_mean"),
        batch_info_mean=batch.get("info_mean"),
        pairs=paired.get("pairs"),
        skipped=(paired if weighed is None else weighed).get("skipped") or {},
        steps=end.steps if end else trained.get("steps"),
        dropped=trained.get("dropped") or {},
        loss=end and end.loss,
        margin=end and end.margin,
        responses=cost.get("responses"),
        sampled_tokens=cost.get("tokens"),
        cost_usd=cost.get("usd"),
        diversity=None if diversity is None else _diversity(diversity, config.collapse),
        audit=None if audit is None else read_part(Audit, audit),
        heldout=heldout,
        seconds=sum(stage.seconds for stage in begun),
        weighed=None if weighed is None else Weighed(weighed["responses"], weighed.get("left_out") or {}),
        steering=None if steering is None else read_part(SteeringFacts, steering),
        creator=None
        if earned is None
        else CreatorStep(
            earned.get("reward"),
            earned.get("regret"),
            earned.get("likeness"),
            earned["trained"],
            counts.get("train_creator", {}).get("steps"),
        ),
    )


def _diversity(figures: JsonObject, bounds: Collapse) -> Diversity:
    beyond = [
        BoundBreach(**asdict(breach), text=str(breach), pauses=pauses)
        for pauses, limits in ((False, bounds.warn), (True, bounds.pause))
        for breach in breaches(figures, limits)
    ]
    return read_part(Diversity, {**figures, "breaches": beyond})


def _timings(run: RunRow, begun: Sequence[StageRow]) -> Timings:
    by_stage: dict[str, float] = {}
    for stage in begun:
        by_stage[stage.name] = by_stage.get(stage.name, 0.0) + stage.seconds
    ended = run.finished_at
    return Timings(
        wall=(ended - run.started_at).total_seconds() if ended and run.started_at else None,
        stages=sum(by_stage.values()),
        by_stage=by_stage,
        restarts=sum(stage.attempts - 1 for stage in begun),
    )
