"""What the report of a study is made from, read from the store."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from eva.settings import Settings
from eva.solver.manifest import MANIFEST
from eva.studies.report import study_report
from eva.types import PLAYERS, Checkpoint
from store.game import checkpoints, heldout
from store.runs import runs, studies
from store.session import Store
from store.views.report import heldout_scores
from store.views.studies import study_records
from tests.support.heldout_sets import held_out
from tests.support.played_study import FIGURE, NAME, SEEDS, play_study_on_fakes


def test_a_played_study_is_reported_with_outcomes_costs_and_its_failed_run(
    store: Store, store_settings: Settings
) -> None:
    played = play_study_on_fakes(store, store_settings)
    with store.transaction() as conn:
        records = study_records(conn, studies.find_study(conn, NAME), store_settings.runs_dir)
        accuracies = heldout_scores(conn, played.runs["two", 0].id, 1.0)
    first = next(run for run in records.runs if (run.arm, run.seed) == ("two", 0))
    assert [policy.checkpoint for policy in first.policies] == [0, 1, 2]
    last = first.policies[2]
    stored = next(row for row in accuracies if (row.checkpoint, row.split, row.mode) == (2, "hard", "sampled"))
    assert len(last.values[FIGURE]) == 8
    assert last.mean(FIGURE) == stored.correct / stored.n
    # 12 prompts, 6 responses each, in the warm-up; more in the iteration that evolves
    assert first.policies[1].spent.responses == 72 < last.spent.responses
    assert first.policies[1].spent.pairs <= 12 and last.spent.steps == sum(last.steps_by_iteration) > 0
    assert first.policies[0].spent.responses == 0 and last.spent.seconds > 0

    report = study_report(records)
    assert report.counts == {"finished": 8, "failed": 1}
    one, again = report.comparisons
    assert (one.first, one.second, one.difference.runs) == ("one", "two", SEEDS)
    assert (again.first, again.repeats, again.difference.runs) == ("again", True, SEEDS - 1)
    assert report.contamination is not None
    assert report.contamination.heldout == 8 and report.contamination.equal == 0
    assert report.contamination.trained_on >= 12


def given_model(store: Store, runs_dir: Path, name: str, files: dict[str, str]) -> str:
    """Returns the digest that the records of a study have of a given model with these files, as path: SHA-256."""
    folder = runs_dir / name / "checkpoint-0000"
    folder.mkdir(parents=True)
    rows = [{"path": path, "size": 1, "sha256": digest} for path, digest in files.items()]
    (folder / MANIFEST).write_text(json.dumps({"files": rows}))
    with store.transaction() as conn:
        run = runs.create_run(conn, stem=name, config={}, config_hash="h", seed=1)
        config = {"name": name, "base": "playground", "arms": {"a": {}}, "outcome": {"figure": FIGURE}}
        study = studies.create_study(conn, name, config, "h")
        studies.add_run(conn, study.id, seed=1, model="m", arm="a", shared=False, run_id=run.id)
        for player in PLAYERS:
            digest = f"{player} of {name}"
            checkpoints.insert_checkpoint(conn, run.id, Checkpoint(0, 0, str(folder), digest), player=player)
        return study_records(conn, study, runs_dir).provenance.models["m"]


def test_a_given_model_is_known_by_its_own_files_not_by_what_a_machine_measured_of_it(
    store: Store, tmp_path: Path
) -> None:
    runs_dir = tmp_path / "runs"
    here = given_model(store, runs_dir, "here", {"canary.json": "1", "model.safetensors": "a"})
    assert given_model(store, runs_dir, "there", {"canary.json": "2", "model.safetensors": "a"}) == here
    assert given_model(store, runs_dir, "other", {"canary.json": "1", "model.safetensors": "b"}) != here
    with store.transaction() as conn:
        study = studies.find_study(conn, "here")
        (runs_dir / "here").rename(tmp_path / "away")
        assert study_records(conn, study, runs_dir).provenance.models == {"m": "solver of here"}


def test_responses_without_a_reward_are_wrong_and_leave_the_mean_reward_alone(store: Store, tmp_path: Path) -> None:
    with store.transaction() as conn:
        run = runs.create_run(conn, stem="r", config={"evaluation": {"success": 0.5}}, config_hash="h", seed=1)
        config = {"name": "s", "base": "playground", "arms": {"a": {}}, "outcome": {"figure": FIGURE}}
        study = studies.create_study(conn, "s", config, "h")
        studies.add_run(conn, study.id, seed=1, model="m", arm="a", shared=False, run_id=run.id)
        heldout.insert_heldout(conn, run.id, held_out("hard", "one", "two", "three"))
        rows = [
            heldout.HeldoutResponse(0, 0, "x", "stop", 1, 0.6),
            heldout.HeldoutResponse(0, 1, "x", "stop", 1, None, "no verdict"),
            heldout.HeldoutResponse(1, 0, "x", "stop", 1, None, "no verdict"),
        ]
        heldout.copy_heldout_responses(conn, run.id, 0, "hard", "sampled", rows)
        (record,) = study_records(conn, study, tmp_path).runs
    values = record.policies[0].values
    np.testing.assert_array_equal(values[FIGURE], [0.5, 0.0, math.nan])
    np.testing.assert_array_equal(values["heldout.hard.sampled.reward"], [0.6, math.nan, math.nan])
