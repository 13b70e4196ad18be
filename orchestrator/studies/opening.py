"""Opening a study: it is stored under its name, and a changed file under a name that has runs is refused."""

from __future__ import annotations

from dataclasses import dataclass

from eva.config import RunConfig
from eva.errors import ConflictError
from eva.studies.files import current_values
from eva.studies.plan import StudyPlan, plan_study, study_differences, study_hash
from eva.studies.study import StudyConfig
from orchestrator.launch.resume import LISTED, changes_of
from orchestrator.studies.given_models import model_paths
from store.rows import RunRow
from store.runs import runs, studies
from store.runs.studies import StudyRow
from store.session import Store


@dataclass(frozen=True, slots=True)
class OpenStudy:
    """A stored study with its plan."""

    row: StudyRow
    plan: StudyPlan


def open_study(store: Store, study: StudyConfig, data_dir: str, *, accept: bool = False) -> OpenStudy:
    """Stores a study, or finds it by its name. A study without runs takes the new config.

    Raises ConfigError when it cannot be planned, and ConflictError, which lists the differences, when the study of this
    name has runs and another config, or when its runs were played by other code and `accept` is false.
    """
    plan = plan_study(study, model_paths(study, data_dir))
    config, digest = study.model_dump(mode="json"), study_hash(study)
    with store.transaction() as conn:
        row = studies.create_study(conn, study.name, config, digest)
        begun = [runs.get_run(conn, run.run_id) for run in studies.study_runs_of(conn, row.id)]
        if row.config_hash != digest:
            differences = study_differences(current_values(row.config), config)
            if begun and differences:
                raise _changed(row, differences, len(begun))
            studies.replace_config(conn, row.id, config, digest)
            row = studies.find_study(conn, study.name)
    if not accept:
        _require_same_code(study.name, begun)
    return OpenStudy(row, plan)


def _changed(row: StudyRow, differences: list[str], begun: int) -> ConflictError:
    lines = "\n".join(f"  {line}" for line in differences)
    return ConflictError(
        f"study {row.name} has {begun} runs of another config:\n{lines}\n",
        expected="the config that it was started with, since its runs are compared with each other",
        next_move="Go back to that config, or give the new study another name",
    )


def _require_same_code(name: str, begun: list[RunRow]) -> None:
    """Raises ConflictError when a run was played by other code: what it changes would count as the arms' doing."""
    checked: list[object] = []
    for run in begun:
        if run.code is None or run.code in checked:
            continue
        checked.append(run.code)
        changed = changes_of(run, RunConfig.model_validate(run.config)).code
        if changed:
            listed = "\n".join(f"  {line}" for line in changed[:LISTED])
            rest = f"\n  and {len(changed) - LISTED} more files" if len(changed) > LISTED else ""
            raise ConflictError(
                f"study {name} has runs that were played by other code, such as {run.name}:\n{listed}{rest}\n",
                expected="one program for all runs of a study, since they are compared with each other",
                next_move="Go back to that code, or add --accept-changes to go on anyway; the report will not know",
            )
