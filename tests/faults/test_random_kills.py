from collections.abc import Callable

import pytest
from sqlalchemy import delete, func, select

from eva.solver.token_record import FOLDER
from store.schema.tables import prompts, responses, rewards, token_files
from tests.support.faults.contract import hold_contract, require_records
from tests.support.faults.drivers import Order, Outcome, notebook
from tests.support.faults.game import Notebook, cut_config, game_config
from tests.support.faults.kills import kill_at_random
from tests.support.faults.trial import Trial


@pytest.mark.parametrize("seed", range(12))
def test_a_run_whose_drivers_are_killed_by_chance_ends_as_if_nothing_had_happened(
    seed: int, undisturbed: Trial, new_trial: Callable[..., Trial]
) -> None:
    trial = new_trial()
    kill_at_random(trial, seed, len(undisturbed.points), undisturbed.lasts_s)
    hold_contract(trial, undisturbed)


def test_a_run_with_cut_batches_survives_kills_by_chance(new_trial: Callable[..., Trial]) -> None:
    whole = new_trial(cut_config())
    whole.finish()
    for seed in range(4):
        trial = new_trial(cut_config())
        kill_at_random(trial, seed, len(whole.points), whole.lasts_s)
        hold_contract(trial, whole)


def test_the_contract_is_broken_by_a_run_that_decided_otherwise(
    undisturbed: Trial, new_trial: Callable[..., Trial]
) -> None:
    other = new_trial(game_config(8))
    other.finish()
    with pytest.raises(AssertionError, match="Difference"):
        hold_contract(other, undisturbed)


class Forgetful:
    """Stands for drivers that generate a stored response again, and drop its reward."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial

    def drive(self, order: Order) -> Outcome:
        run = self._trial.run.id
        with self._trial.store.transaction() as conn:
            (first,) = conn.execute(
                select(responses.c.checkpoint, prompts.c.text, responses.c.sample)
                .select_from(responses.join(prompts))
                .where(responses.c.run_id == run)
                .limit(1)
            )
            conn.execute(delete(rewards).where(rewards.c.run_id == run))
        temperature = self._trial.config.generation.temperature
        Notebook(notebook(order.folder, order.run)).note((first.checkpoint, first.text, temperature, first.sample))
        return Outcome(0, 0.0, 1.0)


def test_the_contract_is_broken_by_rows_that_are_gone_and_by_answers_that_are_made_again(
    undisturbed: Trial, new_trial: Callable[..., Trial]
) -> None:
    trial = new_trial()
    assert trial.drive("iteration.finish.after_commit=kill").killed
    trial.finish()
    hold_contract(trial, undisturbed)
    assert trial.kills == 1 and len(trial.recoveries_s) == 1
    trial.drivers = Forgetful(trial)
    trial.drive()
    assert len(trial.repeated) == 1 and {row[0] for row in trial.lost} == {"rewards"}
    with pytest.raises(AssertionError, match="generated twice"):
        hold_contract(trial, undisturbed)


def test_the_contract_is_broken_by_a_response_without_its_record_and_by_a_file_that_nothing_names(
    new_trial: Callable[..., Trial],
) -> None:
    trial = new_trial()
    trial.finish()
    require_records(trial)
    folder = trial.folder / "runs" / trial.run.name / FOLDER
    (folder / "1" / "1-99.parquet").touch()
    with pytest.raises(AssertionError, match="a file was left that nothing needs"):
        require_records(trial)
    with trial.store.transaction() as conn:
        last = select(func.max(token_files.c.serial)).where(token_files.c.run_id == trial.run.id).scalar_subquery()
        conn.execute(delete(token_files).where(token_files.c.run_id == trial.run.id, token_files.c.serial == last))
    with pytest.raises(AssertionError, match="has no record of its own"):
        require_records(trial)
