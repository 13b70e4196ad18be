"""The list of studies, and the report of one."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse

from api.cursors import read_cursor, write_cursor
from api.report.page import page
from api.schema import PAGE, Cursor, PageSize
from api.service import Here, Service
from api.studies.requests import NewStudy
from api.studies.schemas import ListedStudy, StudyName, StudyPage, listed
from eva.runtime.redaction import redact_json, secrets_of
from eva.studies.record_files import StudyRecordsFile, recorded
from eva.studies.schema import StudyReport
from store.runs import studies
from store.runs.studies import find_study
from store.runs.study_launches import enqueue_study, list_study_launches, read_study_launch
from store.views.studies import study_records

router = APIRouter(prefix="/v1/studies", tags=["studies"])


@router.get("")
def list_studies(here: Here, limit: PageSize = PAGE, cursor: Cursor = None) -> StudyPage:
    """All studies with the state of their runs, newest first."""
    place = read_cursor(cursor, int)
    with here.reading() as conn:
        launches = {launch.study_id: launch for launch in list_study_launches(conn)}
        rows = studies.list_studies(conn, limit + 1, None if place is None else place[0])
        total = studies.count_studies(conn)
    items = [listed(count, launches.get(count.study.id)) for count in rows[:limit]]
    return StudyPage(
        total=total, items=items, next=write_cursor(rows[limit - 1].study.id) if len(rows) > limit else None
    )


@router.post("", status_code=202)
def create_study(here: Here, new: NewStudy, response: Response) -> ListedStudy:
    """Play a study when its turn comes, or continue it: send the same study again. Other values under the name of a
    study that has runs are refused, with the differences."""
    # loads what plans a run, which a service that only shows studies does not need
    from eva.studies.admission import admit_study
    from eva.studies.files import study_preset_values
    from orchestrator.studies.opening import open_study

    values = study_preset_values(new.preset) if new.preset is not None else new.study
    study = admit_study(values or {}, here.settings.allowed)
    opened = open_study(here.store, study, str(here.settings.data_dir))
    with here.store.transaction() as conn:
        enqueue_study(conn, opened.row.id)
    response.headers["Location"] = f"/v1/studies/{opened.row.name}"
    with here.reading() as conn:
        launch = read_study_launch(conn, opened.row.id)
        return listed(studies.count_study(conn, opened.row), launch)


@router.get("/{study}")
def get_study(here: Here, study: StudyName) -> StudyReport:
    """What a study has shown so far: outcomes by arm, paired differences, their intervals, costs, what was unequal."""
    return report_of(here, study)


@router.get("/{study}/records")
def get_study_records(here: Here, study: StudyName) -> StudyRecordsFile:
    """What the report is made from: every run's outcome on every held-out prompt, and what it cost. Parts of one study
    that were played on several services are pooled from these by `eva study show FILE FILE`."""
    with here.reading() as conn:
        row = find_study(conn, study)
        content = recorded(study_records(conn, row, here.settings.runs_dir))
    values = redact_json(content.model_dump(mode="json"), secrets_of(row.config, os.environ))
    return StudyRecordsFile.model_validate(values)


@router.get(
    "/{study}/report",
    response_class=HTMLResponse,
    responses={
        200: {
            "description": "One HTML page that opens from disk. It contains its styles, scripts and data.",
            "content": {"text/html": {"schema": {"type": "string"}}},
        }
    },
)
def get_study_report(here: Here, study: StudyName) -> HTMLResponse:
    """The study as a page to keep or send: comparisons with intervals, arms, curves, costs, all runs."""
    report = report_of(here, study)
    # the name of a study has only letters, digits, dots, dashes and underscores
    disposition = f'attachment; filename="{report.name}.html"'
    return HTMLResponse(study_page(report), headers={"Content-Disposition": disposition})


def study_page(report: StudyReport) -> str:
    """The report as one HTML page."""
    facts = {"taken_at": datetime.now(UTC).isoformat(), "study": report.model_dump(mode="json")}
    return page(report.name, facts, "report/study.js")


def report_of(service: Service, name: str) -> StudyReport:
    """The report of a study, without secrets. Raises NotFoundError."""
    # loads scipy, which a service that only shows runs does not need
    from eva.studies.report import study_report

    with service.reading() as conn:
        row = find_study(conn, name)
        records = study_records(conn, row, service.settings.runs_dir)
    values = study_report(records).model_dump(mode="json")
    return StudyReport.model_validate(redact_json(values, secrets_of(row.config, os.environ)))
