"""`eva delete` and `eva restore`: what is hidden, what is freed, and what other runs keep."""

import pytest
from sqlalchemy import text

from eva.settings import Settings
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from store.rows import RunRow
from store.runs import runs, token_files
from store.session import Store
from tests.support.cli_fixtures import Command
from tests.support.fakes import PublishingTrainer, Recorder, always, fake_config, fake_roles


@pytest.fixture
def run(store: Store, store_settings: Settings) -> RunRow:
    row = register_run(store, fake_config(model={"path": "playground"}, iterations=2, rollouts={"keep": "all"}))
    drive(store, store_settings, row, Recorder(), build=always(fake_roles(trainer=PublishingTrainer())))
    logs = store_settings.logs_dir / row.folder_name
    logs.mkdir(parents=True)
    (logs / "eva.log").write_text("a log")
    return row


def test_a_deleted_run_is_hidden_until_it_is_restored(eva: Command, run: RunRow) -> None:
    assert f"eva restore {run.name}" in eva("delete", run.name).stdout
    assert run.name not in eva("runs").stdout
    assert eva("delete", run.name[:-1]).exit_code == 2, "a deleted run is found by its whole name"
    assert "is restored" in eva("restore", run.name).stdout and run.name in eva("runs").stdout


def test_purging_frees_the_folder_and_the_logs_of_a_run_that_nobody_shares(
    eva: Command, run: RunRow, store: Store, store_settings: Settings
) -> None:
    folder, logs = store_settings.runs_dir / run.folder_name, store_settings.logs_dir / run.folder_name
    with store.transaction() as conn:
        kept = sum(file.size for file in token_files.read_token_files(conn, run.id))
    would = eva("delete", run.name, "--purge", "--dry-run").stdout
    assert "would go checkpoint 2" in would and f"would go token records: {kept / 1e9:.3f} GB" in would
    with store.transaction() as conn:
        assert runs.get_run(conn, run.id).deleted_at is None
    assert folder.is_dir() and logs.is_dir()
    assert "deleted  checkpoint 2" in eva("delete", run.name, "--purge", "--yes").stdout
    assert not folder.exists() and not logs.exists()
    assert "token records" not in eva("delete", run.name, "--purge", "--yes").stdout, "again is harmless"
    eva("restore", run.name)
    refused = eva("export", run.name, "--what", "rollouts")
    assert "has no token records: they were deleted" in refused.stderr and "rollouts.keep" in refused.stderr
    assert "was pruned" in eva("checkpoints", "path", run.name).stderr and eva("show", run.name).exit_code == 0


def test_purging_leaves_what_a_fork_shares(eva: Command, run: RunRow, store: Store, store_settings: Settings) -> None:
    forked = eva("fork", run.name, "--at", "1", "--no-play", "--name", "child")
    assert forked.exit_code == 0, forked.stderr
    shown = eva("delete", run.name, "--purge", "--yes").stdout
    assert "kept     checkpoint 0: child" in shown and "kept     checkpoint 1: child" in shown
    assert "deleted  checkpoint 2" in shown
    folder = store_settings.runs_dir / run.folder_name
    assert sorted(path.name for path in folder.iterdir()) == ["skill-1", "skill-2"]
    with store.transaction() as conn:
        conn.execute(text("UPDATE runs SET status = 'cancelled' WHERE name LIKE 'child%'"))
        keep = """UPDATE runs SET config = jsonb_set(config, '{checkpoints}', '{"keep"\\: ["last"]}')"""
        conn.execute(text(keep))
    assert "deleted  checkpoint 0" in eva("delete", run.name, "--purge", "--yes").stdout
    assert [path.name for path in folder.iterdir()] == ["skill-2"], "what the fork ended with"


def test_purging_asks_first_and_is_refused_where_nobody_can_answer(
    eva: Command, run: RunRow, store_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = eva("delete", run.name, "--purge")
    assert refused.exit_code == 2 and f"deletes the files of {run.name} for good: add --yes" in refused.stderr
    monkeypatch.setattr("cli.commands.delete._answers", lambda: True)
    declined = eva("delete", run.name, "--purge", stdin="n\n")
    assert declined.exit_code == 1 and "for good (" in declined.stdout
    assert (store_settings.runs_dir / run.folder_name).is_dir() and run.name in eva("runs").stdout
    assert "deleted  checkpoint 2" in eva("delete", run.name, "--purge", stdin="y\n").stdout
