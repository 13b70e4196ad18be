"""A study on fakes: what is played, what is shared, and what happens to a run that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from eva.errors import ConflictError, DiskFullError, RunStoppedError, TrainingFailedError
from eva.studies.study import StudyConfig
from orchestrator.hold.control import request_stop
from orchestrator.launch.registration import register_run
from orchestrator.studies.opening import open_study
from store.rows import RunRow
from store.runs import runs, stages, studies
from store.session import Store
from tests.support.decisions import fingerprint_of
from tests.support.fakes import fake_config
from tests.support.study_on_fakes import fake_study, play_on_fakes


def short_study(**changes: object) -> StudyConfig:
    """The study of two iterations: one that the arms share, and one that each plays alone."""
    return fake_study(base=fake_config(iterations=2).model_dump(mode="json"), **changes)


def rows_of(store: Store, study: StudyConfig) -> list[RunRow]:
    with store.transaction() as conn:
        found = studies.study_runs_of(conn, studies.find_study(conn, study.name).id)
        return [runs.get_run(conn, row.run_id) for row in found]


def test_arms_share_one_warm_up_and_end_as_if_each_had_played_its_own(store: Store, tmp_path: Path) -> None:
    study = short_study()
    played = play_on_fakes(store, study, tmp_path)
    assert [each.state for each in played] == ["finished"] * 6
    rows = rows_of(store, study)
    assert sum(row.forked_at == 1 for row in rows) == 4
    assert len({row.id for row in rows if row.forked_from is None}) == 2
    arms = {each.planned.cell: each.run for each in played if not each.planned.cell.shared}
    for each in played[1:3]:
        alone = register_run(store, each.planned.config)
        play_alone(store, alone, tmp_path)
        row = arms[each.planned.cell]
        assert row is not None and fingerprint_of(store, row) == fingerprint_of(store, alone)
    assert {row.tags for row in rows} >= {("study:fakes", "arm:regret"), ("study:fakes", "shared:regret")}


def play_alone(store: Store, run: RunRow, folder: Path) -> None:
    from eva.settings import Settings
    from orchestrator.driver import drive
    from orchestrator.watch.listener import NoListener
    from tests.support.fakes import always, fake_roles

    drive(store, Settings(folder, None, None), run, NoListener(), build=always(fake_roles()))


def test_a_finished_study_plays_nothing_when_it_is_started_again(store: Store, tmp_path: Path) -> None:
    play_on_fakes(store, short_study(seeds=1), tmp_path)
    begun: list[RunRow] = []
    again = play_on_fakes(store, short_study(seeds=1), tmp_path, begun.append)
    assert begun == [] and {each.state for each in again} == {"finished"} and {each.seconds for each in again} == {0.0}


def test_a_run_that_fails_is_listed_and_resumed_by_the_next_start(store: Store, tmp_path: Path) -> None:
    def fail(run: RunRow) -> None:
        if "greedy.s0" in run.name:
            raise TrainingFailedError("it diverged")

    played = play_on_fakes(store, short_study(), tmp_path, fail)
    states = {each.planned.cell.arm + str(each.planned.cell.seed): each for each in played}
    assert states["greedy0"].state == "failed" and states["greedy0"].error == "it diverged."
    assert [each.state for each in played].count("finished") == 5
    again = play_on_fakes(store, short_study(), tmp_path)
    assert {each.state for each in again} == {"finished"}
    assert states["greedy0"].run is not None
    assert {each.run.id for each in again if each.run} == {each.run.id for each in played if each.run}


def test_arms_wait_when_the_run_that_they_continue_has_failed(store: Store, tmp_path: Path) -> None:
    def fail(run: RunRow) -> None:
        if "shared.s0" in run.name:
            raise ValueError("a function of the user")

    played = play_on_fakes(store, short_study(), tmp_path, fail)
    assert [each.state for each in played] == ["failed", "waiting", "waiting"] + ["finished"] * 3
    assert played[0].error == "ValueError: a function of the user"


def test_a_full_disk_ends_the_study_and_not_only_a_run(store: Store, tmp_path: Path) -> None:
    def fail(run: RunRow) -> None:
        raise DiskFullError("no space is left")

    with pytest.raises(DiskFullError):
        play_on_fakes(store, short_study(), tmp_path, fail)


def test_a_run_that_its_user_pauses_or_cancels_is_left_alone(store: Store, tmp_path: Path) -> None:
    def stop(run: RunRow) -> None:
        if "regret.s1" in run.name:
            request_stop(store, run, "cancel")
            raise RunStoppedError("cancelled")

    played = play_on_fakes(store, short_study(), tmp_path, stop)
    assert [each.state for each in played] == ["finished"] * 4 + ["cancelled", "finished"]
    assert [each.state for each in play_on_fakes(store, short_study(), tmp_path)][4] == "cancelled"


def test_a_changed_study_under_a_name_that_has_runs_is_refused_with_the_difference(
    store: Store, tmp_path: Path
) -> None:
    open_study(store, short_study(seeds=5), str(tmp_path))
    play_on_fakes(store, short_study(seeds=1), tmp_path)
    with pytest.raises(ConflictError, match=r"has 3 runs of another config:\n  seeds: the study has 1, the file has 2"):
        open_study(store, short_study(seeds=2), str(tmp_path))


def test_a_study_of_an_earlier_version_without_todays_keys_is_the_same_study(store: Store, tmp_path: Path) -> None:
    study = short_study(seeds=1)
    play_on_fakes(store, study, tmp_path)
    earlier = study.model_dump(mode="json")
    del earlier["curves"], earlier["base"]["generation"]["stream"]
    with store.transaction() as conn:
        studies.replace_config(conn, studies.find_study(conn, study.name).id, earlier, "the hash of then")
    assert open_study(store, study, str(tmp_path)).row.config == study.model_dump(mode="json")


def test_a_study_whose_runs_were_played_by_other_code_goes_on_only_when_told_to(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = short_study(seeds=1)
    play_on_fakes(store, study, tmp_path)
    monkeypatch.setattr("orchestrator.launch.resume.code_differences", lambda kept, new: ["eva/seeds.py: changed"])
    with pytest.raises(ConflictError, match="played by other code"):
        open_study(store, study, str(tmp_path))
    assert open_study(store, study, str(tmp_path), accept=True).row.name == "fakes"


def test_the_shared_run_plays_only_what_is_shared(store: Store, tmp_path: Path) -> None:
    study = short_study(seeds=1)
    play_on_fakes(store, study, tmp_path)
    shared = next(row for row in rows_of(store, study) if row.forked_from is None)
    with store.transaction() as conn:
        assert {stage.iteration for stage in stages.read_stages(conn, shared.id)} == {0}
