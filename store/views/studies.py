"""Queries about what a study has shown: the outcomes and costs of its runs' policies, and what they were trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sqlalchemy import Connection, text

from eva.creator.novelty import question_key
from eva.errors import CheckpointError
from eva.solver.manifest import checkpoint_folder, is_stored, read_manifest
from eva.storage.stored_manifests import kept_copy
from eva.studies.contamination import Question, contamination
from eva.studies.records import ContaminationRecord, PolicyRecord, Provenance, RunRecord, Spent, StudyRecords
from eva.studies.study import StudyConfig
from eva.types import Floats
from store.game.contexts import read_context
from store.runs.studies import StudyRow, StudyRunRow, study_runs_of

# a response without a reward is not correct, and has no part in the mean reward
_OUTCOMES = text("""
    WITH graded AS (
        SELECT h.run_id, h.checkpoint, h.split, h.mode, h.item, avg(h.reward) AS reward,
            avg(CASE WHEN h.reward >= coalesce((r.config->'evaluation'->>'success')::float8, 1) THEN 1.0 ELSE 0.0 END
                )::float8 AS accuracy
        FROM heldout_responses h JOIN runs r ON r.id = h.run_id
        WHERE h.run_id = ANY(CAST(:runs AS int[]))
        GROUP BY h.run_id, h.checkpoint, h.split, h.mode, h.item, r.config
    )
    SELECT run_id, checkpoint, split, mode, array_agg(item ORDER BY item), array_agg(accuracy ORDER BY item),
        array_agg(reward ORDER BY item)
    FROM graded GROUP BY run_id, checkpoint, split, mode ORDER BY run_id, checkpoint, split, mode
""")

_SIZES = text("""
    SELECT run_id, split, max(item) + 1 FROM heldout_prompts WHERE run_id = ANY(CAST(:runs AS int[]))
    GROUP BY run_id, split
""")

# evaluation is what a study measures with, not what an arm costs
_STAGES = text("""
    SELECT run_id, iteration, sum(seconds) FILTER (WHERE name NOT LIKE 'evaluate%'),
        coalesce(sum((counts->>'pairs')::int) FILTER (WHERE name = 'pair'), 0),
        coalesce(sum((counts->>'steps')::int) FILTER (WHERE name = 'train'), 0)
    FROM stages WHERE run_id = ANY(CAST(:runs AS int[])) GROUP BY run_id, iteration
""")

_SAMPLED = text("""
    SELECT run_id, iteration, (data->>'responses')::int, (data->>'tokens')::int,
        coalesce((data->'usd'->>'evolving')::float8, 0) + coalesce((data->'usd'->>'rewards')::float8, 0)
    FROM statistics WHERE run_id = ANY(CAST(:runs AS int[])) AND name = 'cost'
""")

_TRAINED_ON = text("""
    SELECT DISTINCT p.text, root.context
    FROM batches b JOIN prompts p ON p.run_id = b.run_id AND p.number = b.prompt
    JOIN prompts root ON root.run_id = p.run_id AND root.number = p.root
    WHERE b.run_id = ANY(CAST(:runs AS int[]))
""")

_CODE = text("SELECT DISTINCT code::text FROM runs WHERE id = ANY(CAST(:runs AS int[])) AND code IS NOT NULL")

_GIVEN = text("""
    SELECT DISTINCT ON (s.model) s.model, c.digest, c.path FROM checkpoints c JOIN study_runs s ON s.run_id = c.run_id
    WHERE s.study_id = :study AND c.number = 0 AND c.player = 'solver'
    ORDER BY s.model, c.pruned_at NULLS FIRST, c.run_id
""")

_HELDOUT_ORDER = text("""
    SELECT array_agg(text ORDER BY item) FROM heldout_prompts
    WHERE run_id = ANY(CAST(:runs AS int[])) AND split = :split GROUP BY run_id
""")

_HELDOUT = text("""
    SELECT DISTINCT text, context FROM heldout_prompts
    WHERE run_id = ANY(CAST(:runs AS int[])) AND split = :split ORDER BY text
""")


@dataclass(slots=True)
class _Iteration:
    seconds: float = 0.0
    pairs: int = 0
    steps: int = 0
    responses: int = 0
    tokens: int = 0
    dollars: float = 0.0


_Figures = dict[int, dict[str, Floats]]
"""The held-out figures of one run: by checkpoint and name, a value for each prompt."""


def study_records(conn: Connection, study: StudyRow, runs_dir: Path) -> StudyRecords:
    """Returns everything that the report of a study is made from. `runs_dir`: the folder of all runs."""
    config = StudyConfig.model_validate(study.config)
    rows = [row for row in study_runs_of(conn, study.id) if not row.shared]
    values = {"runs": [row.run_id for row in rows]}
    outcomes, spent = _outcomes(conn, values["runs"]), _iterations(conn, values["runs"])
    models = config.models or tuple(dict.fromkeys(row.model for row in rows)) or ("",)
    return StudyRecords(
        config,
        models,
        tuple(_run(row, outcomes.get(row.run_id, {}), spent.get(row.run_id, {})) for row in rows),
        _contamination(conn, values["runs"], config.outcome.split),
        _provenance(conn, study.id, values["runs"], config.outcome.split, runs_dir),
    )


def _provenance(conn: Connection, study: int, runs: Sequence[int], split: str, runs_dir: Path) -> Provenance:
    codes = {_digest(code) for (code,) in conn.execute(_CODE, {"runs": runs})}
    heldout = {_digest("\0".join(texts)) for (texts,) in conn.execute(_HELDOUT_ORDER, {"runs": runs, "split": split})}
    given = {row.model: _model_digest(row.path, row.digest, runs_dir) for row in conn.execute(_GIVEN, {"study": study})}
    return Provenance(tuple(sorted(codes)), given, tuple(sorted(heldout)))


def _model_digest(path: str, digest: str, runs_dir: Path) -> str:
    """The digest of a given model; of its whole checkpoint where its files are gone, which differs between machines."""
    try:
        stored = is_stored(path)
        manifest = kept_copy(digest, runs_dir.parent) if stored else read_manifest(checkpoint_folder(path, runs_dir))
    except CheckpointError:
        manifest = None
    return digest if manifest is None else manifest.model_digest


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def _run(row: StudyRunRow, evaluated: _Figures, iterations: dict[int, _Iteration]) -> RunRecord:
    return RunRecord(
        row.run,
        row.arm,
        row.seed,
        row.model,
        row.status,
        row.error,
        tuple(_policy(checkpoint, values, iterations) for checkpoint, values in sorted(evaluated.items())),
    )


def _policy(checkpoint: int, values: dict[str, Floats], iterations: dict[int, _Iteration]) -> PolicyRecord:
    """A policy with what the iterations before it had used: that of number k was made by iteration k - 1."""
    before = [iterations.get(number, _Iteration()) for number in range(checkpoint)]
    return PolicyRecord(
        checkpoint,
        Spent(
            responses=sum(each.responses for each in before),
            tokens=sum(each.tokens for each in before),
            pairs=sum(each.pairs for each in before),
            steps=sum(each.steps for each in before),
            seconds=sum(each.seconds for each in before),
            dollars=sum(each.dollars for each in before),
        ),
        tuple(each.steps for each in before),
        values,
    )


def _outcomes(conn: Connection, runs: Sequence[int]) -> dict[int, _Figures]:
    sizes = {(run, split): int(size) for run, split, size in conn.execute(_SIZES, {"runs": runs})}
    found: dict[int, _Figures] = {}
    for run, checkpoint, split, mode, items, *by_figure in conn.execute(_OUTCOMES, {"runs": runs}):
        figures = found.setdefault(run, {}).setdefault(checkpoint, {})
        for figure, values in zip(("accuracy", "reward"), by_figure, strict=True):
            values_P = np.full(sizes[run, split], np.nan)
            values_P[items] = [np.nan if value is None else value for value in values]
            figures[f"heldout.{split}.{mode}.{figure}"] = values_P
    return found


def _iterations(conn: Connection, runs: Sequence[int]) -> dict[int, dict[int, _Iteration]]:
    found: dict[int, dict[int, _Iteration]] = {}
    for run, iteration, seconds, pairs, steps in conn.execute(_STAGES, {"runs": runs}):
        found.setdefault(run, {})[iteration] = _Iteration(float(seconds or 0), int(pairs), int(steps))
    for run, iteration, responses, tokens, dollars in conn.execute(_SAMPLED, {"runs": runs}):
        spent = found.setdefault(run, {}).setdefault(iteration, _Iteration())
        spent.responses, spent.tokens, spent.dollars = int(responses), int(tokens), float(dollars)
    return found


def _contamination(conn: Connection, runs: Sequence[int], split: str) -> ContaminationRecord | None:
    """The outcome's held-out prompts against all prompts that these runs trained on; None before there are any."""
    trained_on = [_question(*row) for row in conn.execute(_TRAINED_ON, {"runs": runs})]
    if not trained_on:
        return None
    heldout = [_question(*row) for row in conn.execute(_HELDOUT, {"runs": runs, "split": split})]
    different = {question_key(*question): question for question in sorted(trained_on, key=lambda question: question[0])}
    return contamination(heldout, [*different.values()])


def _question(prompt: str, context: Sequence[Mapping[str, str]] | None) -> Question:
    return prompt, read_context(context)
