"""The plan of a study: what is played in which order, what is shared, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eva.config.files import preset_values
from eva.errors import ConfigError
from eva.studies.files import complete_study, load_study, study_presets
from eva.studies.plan import Cell, plan_study, study_differences
from eva.studies.record_files import read_records
from eva.studies.study import Outcome, StudyConfig
from tests.support.structure import ROOT

CREATOR_ONLY = {"regret": {}, "uniform": {"informativeness.metric": "uniform", "info_from": "reuse"}}


def study(**changes: Any) -> StudyConfig:
    values = {
        "name": "metrics",
        "base": "playground",
        "arms": CREATOR_ONLY,
        "seeds": 2,
        "models": ["playground", "playground:1"],
        "outcome": {"figure": "heldout.hard.sampled.accuracy"},
    }
    return complete_study(values | changes, Path.cwd())


def cells(config: StudyConfig) -> list[tuple[Cell, Cell | None, int]]:
    return [(run.cell, run.parent, run.at) for run in plan_study(config).runs]


def test_runs_are_ordered_by_seed_and_the_warm_up_is_played_once_for_each_seed_and_model() -> None:
    planned = plan_study(study(), {"playground:1": "/made/playground-1"}).runs
    assert len(planned) == 2 * 2 * 3
    first = [planned[0].cell, planned[1].cell, planned[2].cell]
    trunk = Cell(0, "playground", "regret", shared=True)
    assert first == [trunk, Cell(0, "playground", "regret"), Cell(0, "playground", "uniform")]
    assert [run.parent for run in planned[:3]] == [None, trunk, trunk]
    assert [run.at for run in planned[:3]] == [0, 1, 1]
    assert [run.cell.seed for run in planned] == [0] * 6 + [1] * 6
    assert planned[0].config.iterations == 1 and planned[1].config.iterations == 4
    assert {run.config.model.path for run in planned} == {"playground", "/made/playground-1"}
    assert planned[2].config.name == "metrics.uniform.s0"


def test_only_the_last_policy_is_evaluated_unless_the_others_are_needed() -> None:
    def when(**changes: Any) -> set[str]:
        return {run.config.evaluation.when for run in plan_study(study(**changes)).runs}

    assert when() == when(match={"steps": 5}) == {"never", "last"}
    assert when(curves=True) == when(match={"responses": 9000}) == {"each"}
    assert when(set={"evaluation.baseline": "initial"}) == {"end"}


def test_every_arm_is_cut_to_the_matched_steps() -> None:
    assert {run.config.training.step_limit for run in plan_study(study(match={"steps": 5})).runs} == {5}


def test_arms_that_train_differently_share_nothing_unless_the_study_says_so() -> None:
    arms = {"dpo": {}, "ipo": {"training.loss": "ipo"}}
    assert all(parent is None for _, parent, _ in cells(study(arms=arms)))
    shared = plan_study(study(arms=arms, share_until=2)).runs
    assert [run.at for run in shared[:3]] == [0, 2, 2]
    assert shared[0].config.training.loss == "dpo" and shared[0].config.iterations == 2


def test_arms_that_share_are_forked_while_one_that_cannot_is_played_whole() -> None:
    arms = CREATOR_ONLY | {"ipo": {"training.loss": "ipo"}}
    assert [at for _, _, at in cells(study(arms=arms))[:4]] == [0, 1, 1, 0]
    alone = {"regret": {}, "ipo": {"training.loss": "ipo"}}
    assert not any(cell.shared for cell, _, _ in cells(study(arms=alone)))
    assert not any(cell.shared for cell, _, _ in cells(study(set={"warm_start": False})))


def test_parts_split_the_study_by_seed_and_model_and_leave_nothing_out() -> None:
    plan = plan_study(study())
    parts = [plan.part(number, 3) for number in range(3)]
    assert sorted((run.cell for part in parts for run in part), key=str) == sorted(
        (run.cell for run in plan.runs), key=str
    )
    assert not {(run.cell.seed, run.cell.model) for run in parts[0]} & {
        (run.cell.seed, run.cell.model) for run in parts[1]
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": CREATOR_ONLY | {"same": {}}}, "arm same changes nothing: its config is that of arm regret"),
        ({"arms": {"same": {"informativeness.metric": "a_min"}}}, "changes nothing: the base has these values"),
        ({"arms": {"other": {"seed": 3}}}, "sets seed, which is the same in all arms"),
        ({"arms": {"other": {"evaluation": {"n": 3}}}}, "sets evaluation.n"),
        ({"arms": {"other": {"informativeness.metrik": 3}}}, "did you mean 'metric'"),
        ({"set": {"seed": 3}}, "set contains seed"),
        ({"outcome": {"figure": "heldout.harder.greedy.reward"}}, "no held-out set 'harder'"),
        ({"set": {"evaluation.difficulties": ["easy"]}}, "evaluation.difficulties leaves it out"),
        ({"match": {"steps": 5}, "set": {"training.enabled": False}}, "cannot be matched at 5 steps"),
        ({"match": {"responses": 100}}, "first iteration alone samples 1,536 responses"),
        ({"share_until": 4}, "plays 4 iterations"),
        ({"share_until": 1, "arms": {"few": {"generation.n": 3}}}, "changes generation.n"),
    ],
)
def test_a_study_that_proves_nothing_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_study(study(**changes))


def test_an_arm_that_takes_an_exact_number_of_steps_cannot_be_cut() -> None:
    with pytest.raises(ConfigError, match="step_limit"):
        plan_study(study(match={"steps": 5}, arms={"exact": {"training.max_steps": 8}}))


def test_differences_of_two_studies_are_named_by_key() -> None:
    kept, given = (study(seeds=seeds).model_dump(mode="json") for seeds in (2, 3))
    assert study_differences(kept, given) == ["seeds: the study has 2, the file has 3"]


def test_a_study_file_is_read_with_its_base_and_its_paths_made_absolute(tmp_path: Path) -> None:
    (tmp_path / "hard.txt").write_text("one\ntwo\n")
    (tmp_path / "base.yaml").write_text(
        "\n".join(f"{key}: {value}" for key, value in preset_values("playground").items())
    )
    (tmp_path / "study.yaml").write_text(
        "name: s\nbase: base.yaml\nset: {evaluation.sets: {mine: hard.txt}}\narms: {a: {}, b: {training.beta: 0.2}}\n"
        "outcome: {figure: heldout.mine.greedy.reward}\nmodels: [playground]\n"
    )
    loaded = load_study(str(tmp_path / "study.yaml"))
    plan = plan_study(loaded)
    assert plan.runs[0].config.evaluation.sets == {"mine": str(tmp_path / "hard.txt")}
    assert plan.runs[0].config.novelty.protected == [str(tmp_path / "hard.txt")], "no near-copies in training"
    assert plan.changes["b"] == {"training.beta": 0.2}


@pytest.mark.parametrize("name", study_presets())
def test_every_study_that_comes_with_eva_can_be_planned(name: str) -> None:
    assert load_study(name).name == name
    assert plan_study(load_study(name)).runs


@pytest.mark.parametrize("file", sorted((ROOT / "benchmarks" / "studies").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_study_of_a_claim_can_be_planned_and_repeats_an_arm(file: Path) -> None:
    claims = load_study(str(file))
    assert plan_study(claims).runs and len(claims.seed_list) >= 10 and len(claims.models) >= 3
    assert any(claims.repeats(one, other) for one, other in claims.comparisons), "its noise is shown"


@pytest.mark.parametrize(
    "file", sorted((ROOT / "benchmarks/studies/pilots").glob("*.yaml")), ids=lambda file: file.stem
)
def test_the_records_of_every_pilot_are_those_of_its_study(file: Path) -> None:
    records = read_records(file.with_suffix(".json.gz"))
    assert records.config == load_study(str(file)) and records.runs


def test_a_study_that_does_not_exist_is_named_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'study-smoke'"):
        load_study("study-smok")
    with pytest.raises(ConfigError, match="did you mean 'arms'"):
        study(armes={})


def test_the_guide_explains_every_key_and_names_every_study_that_comes_with_eva() -> None:
    guide = (ROOT / "docs" / "studies.md").read_text("utf-8")
    keys = {*StudyConfig.model_fields} - {"outcome"} | {f"outcome.{key}" for key in Outcome.model_fields}
    assert {key for key in keys if f"| `{key}` |" not in guide} == set()
    assert {name for name in study_presets() if f"| `{name}` |" not in guide} == set()
