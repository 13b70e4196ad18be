"""Resuming with other config or code: refused with every difference, or accepted and recorded as an event."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from eva.config.changes import CHANGEABLE, when_allowed, when_changeable
from eva.config.files import with_overrides
from eva.errors import ConflictError, LeaseTakenError
from eva.settings import Settings
from orchestrator.driver import drive
from orchestrator.hold.lease import claim
from orchestrator.launch.code_identity import FLOORS, code_differences, code_identity
from orchestrator.launch.registration import register_run
from orchestrator.launch.resume import accept_changes, changes_of, prepare, require_resumable, require_unchanged
from store.rows import RunRow
from store.runs import events, runs
from store.session import Store
from tests.support.fakes import Recorder, always, creator_section, fake_config, fake_roles


def every_key() -> set[str]:
    from cli.config_reference import sections

    # a list changes as a whole
    return {key.path.partition("[]")[0] for section in sections() for key in section.keys}


def row_of(store: Store, run: RunRow) -> RunRow:
    with store.transaction() as conn:
        return runs.get_run(conn, run.id)


def begun(store: Store, folder: Path, **changes: Any) -> RunRow:
    """A run that stopped in iteration 1 after its draw was stored."""
    run = register_run(store, fake_config(**changes))

    def stop(iteration: int, stage: str) -> None:
        if (iteration, stage) == (1, "sample"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drive(store, Settings(folder, None, None), run, Recorder(on_close=stop), build=always(fake_roles()))
    return row_of(store, run)


def test_every_key_of_the_config_is_classified_and_every_class_is_of_a_key() -> None:
    keys = every_key()
    covered = {entry for key in keys for entry in CHANGEABLE if key == entry or key.startswith(f"{entry}.")}
    assert {key for key in keys if not any(key == one or key.startswith(f"{one}.") for one in CHANGEABLE)} == set()
    assert {*CHANGEABLE} == covered
    assert (when_changeable("seed"), when_changeable("training.lora.rank"), when_changeable("reward.members")) == (
        "never",
        "resume",
        "iteration",
    )
    assert when_changeable("unheard.of") == "never"


def test_a_creator_that_learns_keeps_its_first_weights_and_writes_whole_iterations() -> None:
    own, other = (fake_config(evolving=creator_section(model=model)) for model in ("one", "two"))
    keys = [f"evolving.evolver.{key}" for key in ("model", "kind", "frozen", "temperature", "likeness")]
    assert [when_allowed(key, own, other) for key in keys] == ["never", *["iteration"] * 3, "resume"]
    assert [when_allowed(key, fake_config(), own) for key in keys] == ["resume", *["iteration"] * 3, "resume"]
    assert {when_allowed(key, fake_config(), fake_config()) for key in keys} == {"resume"}


def test_a_changed_config_is_refused_key_by_key(store: Store, tmp_path: Path) -> None:
    run = begun(store, tmp_path)
    require_unchanged(run)
    config = with_overrides(fake_config(), ["training.beta=0.3", "fleet.engines=2"])
    with pytest.raises(ConflictError) as refused:
        require_unchanged(run, config)
    said = str(refused.value)
    assert "training.beta: the run has 0.05, the config has 0.3" in said and "fleet.engines: the run has 1" in said
    assert "--accept-changes" in said and "other code" not in said


def test_accepted_changes_are_stored_with_both_values_and_played(store: Store, tmp_path: Path) -> None:
    run = begun(store, tmp_path)
    config = with_overrides(fake_config(), ["training.beta=0.3", "iterations=2"])
    changed = accept_changes(store, run, config)
    assert changed.config["training"]["beta"] == 0.3 and changed.config_hash != run.config_hash
    with store.transaction() as conn:
        told = events.events_after(conn, run.id)[-1]
    assert told.kind == "changes_accepted" and told.data["code"] == []
    assert {"key": "training.beta", "kept": 0.05, "given": 0.3} in told.data["config"]
    require_unchanged(changed, config)
    drive(store, Settings(tmp_path, None, None), changed, Recorder(), build=always(fake_roles()))
    assert row_of(store, run).iteration == 2


def test_changes_that_the_history_forbids_are_refused_even_if_accepted(store: Store, tmp_path: Path) -> None:
    run = begun(store, tmp_path)
    with pytest.raises(ConflictError, match=r"other values of seed.*Start a new run"):
        accept_changes(store, run, with_overrides(fake_config(), ["seed=1"]))
    with pytest.raises(ConflictError, match=r"sampling.fraction.*eva fork .* --at 1"):
        accept_changes(store, run, with_overrides(fake_config(), ["sampling.fraction=0.5"]))
    with pytest.raises(ConflictError, match="is in iteration 1, but iterations is 1"):
        accept_changes(store, run, with_overrides(fake_config(), ["iterations=1"]))
    assert row_of(store, run) == run


def test_at_the_start_of_an_iteration_its_rules_may_change(store: Store) -> None:
    run = register_run(store, fake_config())
    changed = accept_changes(store, run, with_overrides(fake_config(), ["sampling.fraction=0.5"]))
    assert changed.config["sampling"]["fraction"] == 0.5


def test_a_run_that_is_being_played_keeps_its_config(store: Store) -> None:
    run = register_run(store, fake_config())
    with claim(store, run):
        with pytest.raises(LeaseTakenError):
            accept_changes(store, run, with_overrides(fake_config(), ["training.beta=0.3"]))
        with pytest.raises(LeaseTakenError):
            prepare(store, run)
    assert row_of(store, run) == run


def test_other_code_is_refused_with_what_changed_until_it_is_accepted(store: Store) -> None:
    run = register_run(store, fake_config())
    assert run.code is not None and not changes_of(run)
    with store.transaction() as conn:
        conn.execute(
            text("""UPDATE runs SET code = jsonb_set(jsonb_set(code, '{packages,trl}', '"0.0.1"'),
            '{files,eva/creator/sampling.py}', '"other"')""")
        )
    run = row_of(store, run)
    with pytest.raises(ConflictError) as refused:
        require_unchanged(run)
    assert "was started with other code" in str(refused.value)
    assert "eva/creator/sampling.py: changed" in str(refused.value) and "trl: the run has 0.0.1" in str(refused.value)
    assert not changes_of(accept_changes(store, run))
    with store.transaction() as conn:
        assert any("sampling.py" in line for line in events.events_after(conn, run.id)[-1].data["code"])


def test_a_driver_refuses_other_code_by_itself_and_leaves_the_run_as_it_was(store: Store, tmp_path: Path) -> None:
    run = register_run(store, fake_config(iterations=1))
    settings, stale = Settings(tmp_path, None, None), run
    with store.transaction() as conn:
        conn.execute(text("""UPDATE runs SET code = jsonb_set(code, '{files,eva/creator/sampling.py}', '"other"')"""))
    with pytest.raises(ConflictError, match=r"sampling.py: changed"):
        drive(store, settings, stale, Recorder(), build=always(fake_roles()))
    assert row_of(store, run).status == "created"
    with pytest.raises(ConflictError, match=r"sampling\.py"):
        prepare(store, row_of(store, run))
    ready = prepare(store, row_of(store, run), accept=True)
    drive(store, settings, ready, Recorder(), build=always(fake_roles()))
    assert row_of(store, run).status == "finished"
    with pytest.raises(ConflictError, match="is finished"):
        drive(store, settings, stale, Recorder(), build=always(fake_roles()))
    with pytest.raises(ConflictError, match="is finished"):
        prepare(store, stale)


def test_a_driver_plays_with_the_config_that_the_run_has_when_it_is_claimed(store: Store, tmp_path: Path) -> None:
    stale = register_run(store, fake_config())
    prepare(store, stale, with_overrides(fake_config(), ["iterations=1"]), accept=True)
    drive(store, Settings(tmp_path, None, None), stale, Recorder(), build=always(fake_roles()))
    assert (row_of(store, stale).status, row_of(store, stale).iteration) == ("finished", 1)


def test_a_run_without_a_code_identity_gets_that_of_the_code_that_resumes_it(store: Store) -> None:
    run = register_run(store, fake_config())
    with store.transaction() as conn:
        conn.execute(text("UPDATE runs SET code = NULL"))
    run = row_of(store, run)
    assert not changes_of(run)
    assert accept_changes(store, run).code == code_identity(fake_config())


def test_the_code_identity_covers_every_deciding_source_file_and_the_users_functions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    own = tmp_path / "my_very_own_metric.py"
    own.write_text("def gap(rewards):\n    return rewards\n")
    config = with_overrides(fake_config(), ["informativeness.metric=my_very_own_metric:gap"])
    before = code_identity(config)
    assert {name.split("/")[0] for name in before["files"]} == {*FLOORS, "my_very_own_metric"}
    own.write_text("def gap(rewards):\n    return -rewards\n")
    assert code_differences(before, code_identity(config)) == ["my_very_own_metric: changed"]
    own.unlink()
    assert code_differences(before, code_identity(config)) == ["my_very_own_metric: gone"]


def test_a_resume_from_another_folder_says_which_file_it_does_not_find_there(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    own = tmp_path / "my_metric_of_this_folder.py"
    own.write_text("def gap(rewards):\n    return rewards\n")
    run = register_run(store, with_overrides(fake_config(), ["informativeness.metric=my_metric_of_this_folder:gap"]))
    own.unlink()
    with pytest.raises(ConflictError) as refused:
        require_unchanged(run)
    assert "uses my_metric_of_this_folder, which cannot be found from the folder" in str(refused.value)
    assert "other code" not in str(refused.value) and f"eva resume {run.name}" in str(refused.value)


@pytest.mark.parametrize("status", ["finished", "cancelled"])
def test_a_run_that_is_over_is_not_resumed_but_forked(store: Store, status: str) -> None:
    run = register_run(store, fake_config())
    with store.transaction() as conn:
        runs.set_status(conn, run.id, status)
    with pytest.raises(ConflictError, match=f"is {status}.*eva fork {run.name} --at 0"):
        require_resumable(row_of(store, run))
