"""`eva study show`, `report` and `export`: what a study has shown, and its records in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import click
from rich.console import Console

from cli.remote import source_of, url_option
from cli.terminal.formats import print_json
from cli.terminal.safe_text import printable
from eva.errors import NotFoundError
from eva.runtime.atomic_files import standard_output, whole_file

if TYPE_CHECKING:
    from eva.studies.records import StudyRecords
    from eva.studies.schema import StudyReport

_any_code = click.option(
    "--any-code", is_flag=True, help="Pool parts although different code played them; the report will not know."
)


@click.command()
@click.argument("sources", metavar="STUDY...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as the API returns it (docs/studies.md).")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown, for a page or a pull request.")
@_any_code
@url_option
def show(sources: tuple[str, ...], as_json: bool, as_markdown: bool, any_code: bool, url: str | None) -> None:
    """Show outcomes, differences, costs, and what to doubt.

    STUDY is a name, or a file that `eva study export` has written. Several are pooled: parts of one study that were
    played on different machines.
    """
    from cli.study.markdown import study_markdown
    from cli.study.view import show_study

    if as_json and as_markdown:
        raise click.UsageError("give either --json or --markdown")
    report = _report(sources, url, any_code=any_code)
    if as_json:
        print_json(report.model_dump(mode="json"))
    elif as_markdown:
        click.echo(study_markdown(report), nl=False)
    else:
        show_study(report, Console(highlight=False))


@click.command()
@click.argument("sources", metavar="STUDY...", nargs=-1, required=True)
@click.option("--out", metavar="FILE", help="The file to write; `-` is standard output.  [default: STUDY.html]")
@_any_code
@url_option
def report(sources: tuple[str, ...], out: str | None, any_code: bool, url: str | None) -> None:
    """Write the report as one HTML page.

    The page opens from disk, loads nothing, and can be sent to anybody. STUDY is a name, or a file that `eva study
    export` has written; several are pooled.
    """
    from api.studies.endpoints import study_page

    found = _report(sources, url, any_code=any_code)
    target = Path(out or f"{found.name}.html")
    with standard_output() if out == "-" else whole_file(target) as file:
        file.write(study_page(found).encode())
    if out != "-":
        click.echo(f"The report of {printable(found.name)} is written to {target}", err=True)


@click.command()
@click.argument("name")
@click.option("--out", metavar="FILE", help="The file to write; `-` is standard output.  [default: NAME.json.gz]")
@url_option
def export(name: str, out: str | None, url: str | None) -> None:
    """Write a study's records to a file: the outcome of every run on every held-out prompt, and what it cost.

    `eva study show FILE` reads it anywhere. A name that ends in .gz is compressed.
    """
    from eva.studies.record_files import StudyRecordsFile, write_records

    target = Path(out or f"{name}.json.gz")
    path = f"{study_path(name)}/records"
    with source_of(url) as source:
        content = StudyRecordsFile.model_validate(source.get(path))
    with standard_output() if out == "-" else whole_file(target) as file:
        file.write(write_records(content, compressed=out != "-" and target.suffix == ".gz"))
    if out != "-":
        click.echo(f"The records of {printable(name)}, {len(content.runs)} runs, are written to {target}", err=True)


def study_path(name: str) -> str:
    """The API's path of a study. Raises NotFoundError if this cannot be the name of a study."""
    if not name or "/" in name or ":" in name:
        raise NotFoundError(
            f"there is no study {name!r}",
            expected="the name of a study, or a file that `eva study export` has written",
            next_move="List them with `eva study list`",
        )
    return f"/v1/studies/{quote(name, safe='')}"


def _report(sources: tuple[str, ...], url: str | None, *, any_code: bool) -> StudyReport:
    from eva.studies.pooling import pool
    from eva.studies.report import study_report
    from eva.studies.schema import StudyReport

    if len(sources) == 1 and not _is_file(sources[0]):
        with source_of(url) as source:
            return StudyReport.model_validate(source.get(study_path(sources[0])))
    return study_report(pool({name: _records(name, url) for name in sources}, any_code=any_code))


def _records(name: str, url: str | None) -> StudyRecords:
    from eva.studies.record_files import StudyRecordsFile, read_records, records_of

    if _is_file(name):
        return read_records(Path(name))
    with source_of(url) as source:
        return records_of(StudyRecordsFile.model_validate(source.get(f"{study_path(name)}/records")))


def _is_file(name: str) -> bool:
    from eva.studies.record_files import SUFFIXES

    return name.endswith(SUFFIXES) or Path(name).is_file()
