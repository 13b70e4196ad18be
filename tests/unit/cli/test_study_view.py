"""The report of a study on a terminal: its claims, its doubts, and 80 columns."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from cli.main import eva
from cli.study.markdown import study_markdown
from cli.study.view import show_study
from eva.studies.schema import StudyReport
from tests.support.played_study import FIGURE, NAME
from tests.support.service_fixtures import Served


@pytest.fixture(scope="module")
def report(study_service: Served) -> StudyReport:
    return StudyReport.model_validate(study_service.client.get(f"/v1/studies/{NAME}").json())


def _printed(report: StudyReport, width: int = 80) -> str:
    console = Console(width=width, highlight=False, color_system=None)
    with console.capture() as captured:
        show_study(report, console)
    return captured.get()


def test_a_report_fits_into_80_columns_and_says_what_was_found(report: StudyReport) -> None:
    text = _printed(report)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "8 of 9 runs finished (1 failed)" in text and FIGURE in text
    found = report.comparisons[0]
    assert "one − two" in text and f"{found.difference.value:+.3f}" in text and f"{found.detectable:.3f}" in text
    assert "unequal in responses" in text
    assert "held equal: nothing" in text and "A/A: " in text and "held out: " in text
    assert "iterations.again.s2" in text and "an engine died" in text


def test_a_checkless_and_unequal_study_says_so(report: StudyReport) -> None:
    proof = {
        "quantity": "steps",
        "limit": 16,
        "held": False,
        "used": [{"arm": "one", "least": 3, "most": 9}, {"arm": "two", "least": 16, "most": 16}],
    }
    changed = report.model_dump() | {"match": proof, "repeats": {"covered": 0, "total": 1, "outcome_covered": False}}
    text = " ".join(_printed(StudyReport.model_validate(changed)).split())
    assert "not all arms used the same: one 3 to 9, two 16" in text
    assert "0 of 1 intervals of repeated arms cover 0; the one of the outcome does not" in text


def test_the_command_prints_what_the_api_returns(study_service: Served, report: StudyReport) -> None:
    printed = CliRunner().invoke(eva, ["study", "show", NAME, "--json", "--url", study_service.url])
    assert printed.exit_code == 0, printed.output
    assert StudyReport.model_validate(json.loads(printed.output)) == report
    shown = CliRunner().invoke(eva, ["study", "show", NAME, "--url", study_service.url])
    assert shown.exit_code == 0 and "Paired differences" in shown.output


def test_the_report_as_markdown_has_whole_tables_whatever_its_texts_contain(
    study_service: Served, report: StudyReport
) -> None:
    printed = CliRunner().invoke(eva, ["study", "show", NAME, "--markdown", "--url", study_service.url])
    assert printed.exit_code == 0, printed.output
    hostile = report.model_copy(update={"question": "a | b\n\n# c <script> `d` [e](f)", "models": ["a|b", "c`d"]})
    for text in (printed.output, study_markdown(hostile)):
        rows = [re.sub(r"\\.", "", line) for line in text.splitlines() if line.startswith("|")]
        arms, differences = rows[: 2 + len(report.arms)], rows[2 + len(report.arms) :]
        assert {row.count("|") for row in arms} == {10} and {row.count("|") for row in differences} == {8}
        assert len(differences) == 2 + len(report.comparisons)
        assert f"{report.comparisons[0].difference.value:+.3f}" in differences[2]
        assert "an engine died" in text and "A/A: " in text
        assert "<script" not in re.sub(r"\\.", "", text) and "\n#" not in text
    both = CliRunner().invoke(eva, ["study", "show", NAME, "--markdown", "--json", "--url", study_service.url])
    assert both.exit_code == 2 and "either" in both.output


def test_the_page_is_written_to_a_file(study_service: Served, tmp_path: Path) -> None:
    file = tmp_path / "study.html"
    written = CliRunner().invoke(eva, ["study", "report", NAME, "--out", str(file), "--url", study_service.url])
    assert written.exit_code == 0, written.output
    assert FIGURE in file.read_text("utf-8")
    missing = CliRunner().invoke(
        eva, ["study", "report", "other", "--out", str(tmp_path / "no.html"), "--url", study_service.url]
    )
    assert missing.exit_code and not (tmp_path / "no.html").exists()
