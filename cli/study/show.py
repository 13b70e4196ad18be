"""`eva study show` and `eva study report`: what a study has shown, on a terminal and as one HTML page."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import click
from rich.console import Console

from cli.remote import Remote, source_of, url_option
from cli.terminal.safe_text import printable
from eva.errors import NotFoundError
from eva.runtime.atomic_files import standard_output, whole_file


@click.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as the API returns it (docs/studies.md).")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown, for a page or a pull request.")
@url_option
def show(name: str, as_json: bool, as_markdown: bool, url: str | None) -> None:
    """Show outcomes, differences, costs, and what to doubt."""
    from cli.study.markdown import study_markdown
    from cli.study.view import show_study
    from eva.studies.schema import StudyReport

    if as_json and as_markdown:
        raise click.UsageError("give either --json or --markdown")
    with source_of(url) as source:
        values = source.get(study_path(name))
    if as_json:
        click.echo(json.dumps(values, indent=1, ensure_ascii=False))
    elif as_markdown:
        click.echo(study_markdown(StudyReport.model_validate(values)), nl=False)
    else:
        show_study(StudyReport.model_validate(values), Console(highlight=False))


@click.command()
@click.argument("name")
@click.option("--out", metavar="FILE", help="The file to write; `-` is standard output.  [default: NAME.html]")
@url_option
def report(name: str, out: str | None, url: str | None) -> None:
    """Write the report as one HTML page.

    The page opens from disk, loads nothing, and can be sent to anybody.
    """
    from api.studies.endpoints import report_of, study_page

    target = Path(out or f"{name}.html")
    path = study_path(name)
    with source_of(url) as source, standard_output() if out == "-" else whole_file(target) as file:
        if isinstance(source, Remote):
            source.download(f"{path}/report", file)
        else:
            file.write(study_page(report_of(source.service, name)).encode())
    if out != "-":
        click.echo(f"The report of {printable(name)} is written to {target}", err=True)


def study_path(name: str) -> str:
    """The API's path of a study. Raises NotFoundError if this cannot be the name of a study."""
    if not name or "/" in name or ":" in name:
        raise NotFoundError(
            f"there is no study {name!r}", expected="the name of a study", next_move="List them with `eva study list`"
        )
    return f"/v1/studies/{quote(name, safe='')}"
