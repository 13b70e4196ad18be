"""The contract that every disturbed run must keep."""

from __future__ import annotations

from sqlalchemy import select

from eva.solver.token_record import FOLDER, RecordManifest, iter_token_records
from store.runs.token_files import read_token_files
from store.schema.tables import responses
from store.views.fingerprint import first_difference
from tests.support.faults.trial import Trial


def hold_contract(trial: Trial, undisturbed: Trial) -> None:
    """Checks for the same decisions and weights, no response generated twice, and no row lost."""
    actual, expected = trial.fingerprint(), undisturbed.fingerprint()
    assert trial.repeated == [], "a finished response was generated twice"
    assert trial.lost == [], "rows were lost"
    require_records(trial)
    difference = first_difference(actual, expected)
    assert difference is None, f"its decisions differ, first here: {difference}"
    assert actual.weights == expected.weights, "its checkpoints differ"
    assert trial.creator_weights() == undisturbed.creator_weights(), "its creator's checkpoints differ"


def require_records(trial: Trial) -> None:
    """Checks that a finished run has the record of each response of its last iteration, and no other file."""
    last = trial.config.iterations - 1
    with trial.store.transaction() as conn:
        files = read_token_files(conn, trial.run.id)
        all_files = read_token_files(conn, trial.run.id, player=None)
        of_last = (responses.c.run_id == trial.run.id, responses.c.checkpoint == last)
        columns = (responses.c.prompt, responses.c.sample, responses.c.seed, responses.c.step)
        rows = conn.execute(select(*columns).where(*of_last)).all()
    folder = trial.folder / "runs" / trial.run.name
    assert {file.iteration for file in files if file.pruned} == {*range(last)}
    records = [*iter_token_records(RecordManifest(trial.run.name, folder, files), last)]
    sampled = {(record.number, record.sample): (record.token_ids[0], record.step) for record in records}
    stored = {(row.prompt, row.sample): (row.seed % 1000, row.step) for row in rows}
    assert sampled == stored, "a response has no record of its own"
    assert len(records) == len(rows) > 0 and {record.policy for record in records} == {last}
    left = {path.relative_to(folder).as_posix() for path in (folder / FOLDER).rglob("*") if path.is_file()}
    assert left == {file.path for file in all_files if not file.pruned}, "a file was left that nothing needs"
