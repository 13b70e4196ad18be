"""The facts of a run, from the store alone, as JSON holds them. docs/report.md says what each means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from api.service import secrets_in
from api.summary.family import family, heldout_example, info_by_operations
from api.summary.quality import quality_facts
from api.summary.wins import win_rates
from eva.config import RunConfig
from eva.measures.statistics import wilson
from eva.runtime.redaction import redact_json
from store.rows import JsonObject, RunRow, StageRow
from store.runs import runs, stages
from store.views import report, statistics
from store.views.report import HeldoutScore, TrainingEnd

SCHEMA = 1
Facts = dict[str, Any]


def summary_of(conn: Connection, run: RunRow) -> Facts:
    """Everything that `eva show`, `eva run` and `eva demo` tell of a run, finished or not, without its secrets."""
    # it brings the rewarders, which who only looks at prompts does without
    from orchestrator.launch.preflight import rewarder_of

    config = RunConfig.model_validate(run.config)
    scores = report.heldout_scores(conn, run.id, config.evaluation.success)
    done = stages.read_stages(conn, run.id)
    origin = None if run.forked_from is None else runs.get_run(conn, run.forked_from)
    facts: Facts = {
        "schema": SCHEMA,
        "run": _run(run, config, done, origin),
        "heldout": _heldout(scores),
        "win_rates": win_rates(conn, run.id),
        "iterations": _iterations(conn, run, config, done, scores),
        "family": family(conn, run.id, rewarder_of(config)),
        "example": heldout_example(conn, run.id, scores, config.evaluation.success),
        "operations": info_by_operations(conn, run.id, config),
        "timings": _timings(run, done),
    }
    return redact_json(facts, secrets_in(run))


def _run(run: RunRow, config: RunConfig, done: Sequence[StageRow], origin: RunRow | None) -> Facts:
    stage = next((stage for stage in reversed(done) if stage.status != "done"), None)
    return {
        "name": run.name,
        "status": run.status,
        "error": run.error,
        "iteration": run.iteration,
        "iterations": config.iterations,
        "stage": stage and {"name": stage.name, "done": stage.done, "total": stage.total},
        "seed": run.seed,
        "forked_from": origin and {"run": origin.name, "iteration": run.forked_at},
        "prompts": run.prompt_count,
        "model": config.model.path,
        "reward": config.reward.kind,
        "metric": config.informativeness.metric,
        "loss": config.training.loss,
        "success": config.evaluation.success,
        "config_hash": run.config_hash,
        "created_at": run.created_at.isoformat(),
        "started_at": run.started_at.isoformat() if run.started_at else None,
        "finished_at": run.finished_at.isoformat() if run.finished_at else None,
    }


def _heldout(scores: Sequence[HeldoutScore]) -> Facts:
    """Each split before and after, easiest first; `after` is None until a new checkpoint is evaluated."""
    last = max((score.checkpoint for score in scores), default=0)
    by_split = {
        split: {"before": _at(scores, 0, split), "after": _at(scores, last, split) if last else None}
        for split in dict.fromkeys(score.split for score in scores)
    }
    return dict(sorted(by_split.items(), key=lambda item: (-_greedy_reward(item[1]["before"]), item[0])))


def _greedy_reward(score: Facts | None) -> float:
    greedy: Facts | None = score["greedy"] if score else None
    return (greedy["reward"] if greedy else None) or 0.0


def _at(scores: Sequence[HeldoutScore], checkpoint: int, split: str) -> Facts | None:
    found: Facts = {
        score.mode: _score(score) for score in scores if score.checkpoint == checkpoint and score.split == split
    }
    return {"checkpoint": checkpoint, "greedy": found.get("greedy"), "sampled": found.get("sampled")} if found else None


def _score(score: HeldoutScore) -> Facts:
    low, high = wilson(score.correct, score.n)
    return {
        "accuracy": score.correct / score.n,
        "low": low,
        "high": high,
        "n": score.n,
        "correct": score.correct,
        "reward": score.reward,
        "reward_error": _standard_error(score),
        "binary": score.binary,
    }


def _standard_error(score: HeldoutScore) -> float | None:
    return None if score.deviation is None else score.deviation / score.rewarded**0.5


def _iterations(
    conn: Connection, run: RunRow, config: RunConfig, done: Sequence[StageRow], scores: Sequence[HeldoutScore]
) -> list[Facts]:
    pools, batches = (statistics.get_statistics(conn, run.id, name) for name in ("pool", "batch"))
    costs, ends = statistics.get_statistics(conn, run.id, "cost"), report.training_ends(conn, run.id)
    sizes, quality = report.batch_sizes(conn, run.id), quality_facts(conn, run.id, config)
    begun = sorted({stage.iteration for stage in done})
    return [
        _creator(iteration, config, pools.get(iteration), batches.get(iteration), sizes.get(iteration), counts)
        | _solver(counts, ends.get(iteration + 1), costs.get(iteration))
        | quality.get(iteration, {"diversity": None, "audit": None})
        | {
            "heldout": {split: at for split in _splits(scores) if (at := _at(scores, iteration + 1, split))},
            "seconds": sum(stage.seconds for stage in done if stage.iteration == iteration),
        }
        for iteration in begun
        for counts in [
            {stage.name: stage.counts for stage in done if stage.iteration == iteration and stage.status == "done"}
        ]
    ]


def _splits(scores: Sequence[HeldoutScore]) -> list[str]:
    return sorted({score.split for score in scores})


def _creator(
    iteration: int,
    config: RunConfig,
    pool: JsonObject | None,
    batch: JsonObject | None,
    sizes: tuple[int, int] | None,
    counts: Mapping[str, JsonObject],
) -> Facts:
    seen, evolved = pool or batch or {}, counts.get("evolve")
    return {
        "iteration": iteration,
        "warm_up": iteration == 0 and config.warm_start,
        "prompts": seen.get("prompts"),
        "reward_mean": seen.get("reward_mean"),
        "reward_best": seen.get("reward_best"),
        "reward_worst": seen.get("reward_worst"),
        "info_mean": seen.get("info_mean"),
        "degenerate": seen.get("degenerate") or {},
        "sampled": counts.get("sample", {}).get("sampled"),
        "children": evolved
        and {
            "accepted": evolved.get("accepted"),
            "refused": evolved.get("refused") or {},
            "given_up": evolved.get("given_up"),
        },
        "batch": sizes and {"children": 0 if evolved is None else sizes[0], "buffer": sizes[1], "prompts": sum(sizes)},
        "batch_reward_mean": (batch or {}).get("reward_mean"),
        "batch_info_mean": (batch or {}).get("info_mean"),
    }


def _solver(counts: Mapping[str, JsonObject], end: TrainingEnd | None, cost: JsonObject | None) -> Facts:
    paired, trained = counts.get("pair", {}), counts.get("train", {})
    return {
        "pairs": paired.get("pairs"),
        "skipped": paired.get("skipped") or {},
        "steps": end.steps if end else trained.get("steps"),
        "dropped": trained.get("dropped") or {},
        "loss": end and end.loss,
        "margin": end and end.margin,
        "responses": cost and cost.get("responses"),
        "sampled_tokens": cost and cost.get("tokens"),
        "cost_usd": cost and cost.get("usd"),
    }


def _timings(run: RunRow, done: Sequence[StageRow]) -> Facts:
    """Seconds: from start to end by the clock, in stages, and by stage and iteration."""
    by_stage: dict[str, float] = {}
    for stage in done:
        by_stage[stage.name] = by_stage.get(stage.name, 0.0) + stage.seconds
    ended = run.finished_at
    return {
        "wall": (ended - run.started_at).total_seconds() if ended and run.started_at else None,
        "stages": sum(by_stage.values()),
        "by_stage": by_stage,
        "restarts": sum(stage.attempts - 1 for stage in done),
    }
