"""Submits queued studies as Ray jobs, one at a time, and notes when they end.

What a study has played is in its runs, so nothing is lost with a job: the study is queued again to continue it.
"""

from __future__ import annotations

import logging
from contextlib import suppress

from sqlalchemy import Connection

from eva.errors import InfrastructureError
from eva.studies.study import StudyConfig
from orchestrator.launch.launcher import LOG_LINES, Jobs
from store.runs import studies, study_launches
from store.runs.study_launches import StudyLaunch
from store.session import Store

log = logging.getLogger(__name__)


class StudyLauncher:
    """Takes studies from the queue, and watches the job of the one that is played."""

    def __init__(self, store: Store, jobs: Jobs) -> None:
        self._store, self._jobs = store, jobs

    def tick(self) -> None:
        """Does everything that can be done now. Raises InfrastructureError while Ray does not respond."""
        with self._store.transaction() as conn:
            unconfirmed = study_launches.list_study_launches(conn, "taken")
            submitted = study_launches.list_study_launches(conn, "submitted")
        for launch in unconfirmed:
            self._submit(launch)
        for launch in submitted:
            self._watch(launch)
        with self._store.transaction() as conn:
            taken = study_launches.take_next_study(conn)
        if taken is not None:
            self._submit(taken)

    def stop_all(self) -> list[str]:
        """Asks the drivers of studies to end, because the cluster is ending. Returns their jobs."""
        with self._store.transaction() as conn:
            played = study_launches.list_study_launches(conn, "submitted")
        for launch in played:
            self._jobs.stop(launch.job or "")
        return [launch.job or "" for launch in played]

    def _submit(self, launch: StudyLaunch) -> None:
        try:
            self._jobs.submit(launch.job or "", ["study", "drive", launch.name])
        except InfrastructureError as error:
            with self._store.transaction() as conn:
                study_launches.set_study_message(conn, launch, str(error))
            raise
        with self._store.transaction() as conn:
            study_launches.set_study_submitted(conn, launch)
        log.info("study %s is launched as job %s", launch.name, launch.job)

    def _watch(self, launch: StudyLaunch) -> None:
        """Ends the launch of a job that has ended; why, if runs are left."""
        if self._jobs.state(launch.job or "") not in ("ended", "unknown"):
            return
        last_lines = ""
        with suppress(InfrastructureError):
            last_lines = self._jobs.last_lines(launch.job or "", LOG_LINES)
        with self._store.transaction() as conn:
            complete = _is_complete(conn, launch)
            reason = f"its driver ended before all runs were finished (job {launch.job})"
            message = f"{reason}. Its last lines:\n{last_lines}" if last_lines else reason
            study_launches.set_study_ended(conn, launch, None if complete else message)


def _is_complete(conn: Connection, launch: StudyLaunch) -> bool:
    row = studies.find_study(conn, launch.name)
    finished = [run for run in studies.study_runs_of(conn, row.id) if not run.shared and run.status == "finished"]
    return len(finished) >= StudyConfig.model_validate(row.config).run_count
