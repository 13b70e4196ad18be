"""`eva run`: a new run, a look at what it would do, or an old run continued."""

from __future__ import annotations

from pathlib import Path

import click

from cli.config_reference import as_yaml
from cli.play import facts_option, finish, play
from cli.store_access import find, opened
from cli.terminal.formats import place
from cli.terminal.safe_text import printable
from eva.config import RunConfig
from eva.config.files import load_config
from eva.settings import Settings, read_settings
from store.rows import RunRow
from store.session import Store


@click.command()
@click.argument("config", required=False)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key, e.g. training.beta=0.1.")
@click.option("--name", metavar="STEM", help="Stem of the run's name; short for --set name=STEM.")
@click.option("--dry-run", is_flag=True, help="Print the config, what it would cost and every check; start nothing.")
@click.option("--resume", metavar="RUN", help="Continue a run: its name, the unique beginning of it, or `last`.")
@click.option("--accept-changes", is_flag=True, help="With --resume: go on although config or code differ.")
@facts_option
def run(
    config: str | None,
    overrides: tuple[str, ...],
    name: str | None,
    dry_run: bool,
    resume: str | None,
    accept_changes: bool,
    json_file: Path | None,
) -> None:
    """Play a run of self-play, or continue one.

    CONFIG is a YAML file or a preset (playground); `eva config --reference` explains its keys.
    """
    wanted = tuple(overrides) + ((f"name={name}",) if name else ())
    if resume is None and config is None:
        raise click.UsageError("give a CONFIG (a YAML file, or the preset `playground`), or --resume RUN")
    if resume is not None and config is None and wanted:
        raise click.UsageError(
            "a resumed run keeps its config: --set and --name go with a CONFIG, for a new run; "
            "to change keys of an old one: eva resume RUN --set KEY=VALUE"
        )
    if resume is None and accept_changes:
        raise click.UsageError("--accept-changes goes with --resume")
    if resume is not None and dry_run:
        raise click.UsageError("--dry-run looks at a new run; look at an old one with `eva show`")
    loaded = None if config is None else load_config(config, wanted)
    settings = read_settings()
    if resume is not None:
        continue_run(settings, resume, loaded, json_file, accept=accept_changes)
    elif loaded is not None and dry_run:
        rehearse(loaded)
    elif loaded is not None:
        start_run(settings, loaded, json_file)


def start_run(settings: Settings, config: RunConfig, json_file: Path | None) -> None:
    """Check everything that can be checked, store the run, play it."""
    from orchestrator.launch.new_run import LaunchRequest, launch
    from orchestrator.launch.preflight import check_run

    checked = check_run(config)  # before the store is opened: a config that cannot work leaves no database behind
    with opened(settings) as store:
        play_new(store, settings, launch(store, LaunchRequest(checked)).run, json_file)


def play_new(store: Store, settings: Settings, row: RunRow, json_file: Path | None = None) -> None:
    """Play a run that has just been stored."""
    click.echo(f"{row.name}: {row.prompt_count:,} seed prompts, {row.config['iterations']} iterations")
    play(store, settings, row, json_file=json_file)


def continue_run(
    settings: Settings, reference: str, config: RunConfig | None, json_file: Path | None, *, accept: bool = False
) -> None:
    """Play a run from where it stands; one that is finished only shows its report, so that a job that its
    scheduler starts again ends well. Other config or code than before is refused, or accepted and told."""
    from orchestrator.launch.resume import changes_of, prepare, require_unchanged

    with opened(settings) as store:
        row = find(store, reference)
        if row.status == "finished":
            require_unchanged(row, config, code=False)
            click.echo(f"{row.name} is finished.")
            finish(store, settings, row, json_file)
            return
        changes, row = changes_of(row, config), prepare(store, row, config, accept=accept)
        if changes:
            click.echo(printable(f"{row.name} goes on with changes:") + f"\n{changes}")
        click.echo(f"{row.name}: continued in {place(row.iteration, row.config['iterations'])}")
        play(store, settings, row, json_file=json_file)


def rehearse(config: RunConfig) -> None:
    """Print the config, what it would cost and every check. Raises the first failed check's error, after the config."""
    from orchestrator.launch.preflight import check_run, estimate

    click.echo(as_yaml(config))
    checked = check_run(config)
    for line in estimate(checked):
        click.echo(f"# {line}")
    for line in checked.checks:
        click.echo(printable(f"# checked: {line}"))
    click.echo("# every check passed; nothing was started")
