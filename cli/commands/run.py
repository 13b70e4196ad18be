"""`eva run`: plays a new run, shows what it would do, or resumes an old one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from cli.config_reference import as_yaml
from cli.play import facts_option, finish, play
from cli.store_access import find, store_of
from cli.terminal.check_progress import check_progress
from cli.terminal.formats import place
from cli.terminal.safe_text import printable
from eva.config import RunConfig
from eva.config.files import load_config
from eva.errors import InputError
from eva.settings import Settings, read_settings
from store.rows import RunRow
from store.session import Store


@click.command()
@click.argument("config", required=False)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key, e.g. training.beta=0.1.")
@click.option("--name", metavar="STEM", help="The stem of the run's name; short for --set name=STEM.")
@click.option("--dry-run", is_flag=True, help="Print if it fits, the config, its cost and every check; start nothing.")
@click.option(
    "--gpus",
    metavar="MACHINES",
    help="With --dry-run: plan for these machines: 8x80 (GPUs x GB), 8xH100, 4:8x80 (on four nodes).  [default: yours]",
)
@click.option("--arithmetic", is_flag=True, help="With --dry-run: show how the figures of memory and time come about.")
@click.option("--gpu-hour-usd", type=click.FloatRange(min=0), help="With --dry-run: the price of a GPU for an hour.")
@click.option("--offline", is_flag=True, help="Do not ask whether the endpoints of evolver and judge answer.")
@click.option("--resume", metavar="RUN", help="Resume a run: its name, a unique prefix of it, or `last`.")
@click.option("--accept-changes", is_flag=True, help="With --resume: resume although config or code differ.")
@facts_option
def run(
    config: str | None,
    overrides: tuple[str, ...],
    name: str | None,
    dry_run: bool,
    gpus: str | None,
    arithmetic: bool,
    gpu_hour_usd: float | None,
    offline: bool,
    resume: str | None,
    accept_changes: bool,
    json_file: Path | None,
) -> None:
    """Play a run of self-play, or resume one.

    CONFIG is a YAML file or a preset (playground); `eva config --reference` explains its keys.
    """
    all_overrides = tuple(overrides) + ((f"name={name}",) if name else ())
    if resume is None and config is None:
        raise click.UsageError("give a CONFIG (a YAML file, or the preset `playground`), or --resume RUN")
    if resume is not None and config is None and all_overrides:
        raise click.UsageError(
            "a resumed run keeps its config: --set and --name need a CONFIG, for a new run; "
            "to change keys of an old one, use eva resume RUN --set KEY=VALUE"
        )
    if resume is None and accept_changes:
        raise click.UsageError("--accept-changes goes with --resume")
    if resume is not None and dry_run:
        raise click.UsageError("--dry-run checks a new run; to see an old one, use `eva show`")
    if not dry_run and (gpus or arithmetic or gpu_hour_usd is not None):
        raise click.UsageError("--gpus, --arithmetic and --gpu-hour-usd go with --dry-run")
    loaded = None if config is None else load_config(config, all_overrides)
    settings = read_settings()
    if resume is not None:
        continue_run(settings, resume, loaded, json_file, accept=accept_changes)
    elif loaded is not None and dry_run:
        rehearse(settings, loaded, DryRun(gpus, arithmetic, gpu_hour_usd, offline))
    elif loaded is not None:
        start_run(settings, loaded, json_file, offline=offline)


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a dry run is asked to show. `gpus`: machines to plan for, as `parse_machines` reads them."""

    gpus: str | None = None
    arithmetic: bool = False
    gpu_hour_usd: float | None = None
    offline: bool = False


def start_run(settings: Settings, config: RunConfig, json_file: Path | None, *, offline: bool = False) -> None:
    """Checks everything that can be checked, stores the run and plays it."""
    from orchestrator.launch.new_run import LaunchRequest, launch
    from orchestrator.launch.preflight import check_run, find_machines

    # before the store is opened, so that a config that cannot work leaves no database behind
    with check_progress() as progress:
        checked = check_run(config, find_machines(settings), offline=offline, progress=progress)
    with store_of(settings) as store:
        play_new(store, settings, launch(store, LaunchRequest(checked)).run, json_file)


def play_new(store: Store, settings: Settings, row: RunRow, json_file: Path | None = None) -> None:
    """Plays a run that has just been stored."""
    click.echo(f"{row.name}: {row.prompt_count:,} seed prompts, {row.config['iterations']} iterations")
    play(store, settings, row, json_file=json_file)


def continue_run(
    settings: Settings, reference: str, config: RunConfig | None, json_file: Path | None, *, accept: bool = False
) -> None:
    """Plays a run from where it stopped. Other config or code is refused, or accepted and shown.

    A finished run only shows its report, so that a job succeeds when its scheduler starts it again.
    """
    from orchestrator.launch.resume import changes_of, prepare, require_unchanged

    with store_of(settings) as store:
        row = find(store, reference)
        if row.status == "finished":
            require_unchanged(row, config, code=False)
            click.echo(f"{row.name} is finished.")
            finish(store, settings, row, json_file)
            return
        changes, row = changes_of(row, config), prepare(store, row, config, accept=accept)
        if changes:
            click.echo(printable(f"{row.name} is resumed with changes:") + f"\n{changes}")
        click.echo(f"{row.name}: resumed in {place(row.iteration, row.config['iterations'])}")
        play(store, settings, row, json_file=json_file)


def rehearse(settings: Settings, config: RunConfig, asked: DryRun) -> None:
    """Prints whether the run fits, the config, what it would cost and every check. Raises the error of a failed check,
    after the config."""
    from eva.capacity.machines import parse_machines
    from eva.capacity.report import arithmetic, verdict
    from orchestrator.launch.preflight import check_run, estimate, find_machines, plan_of

    machines = find_machines(settings) if asked.gpus is None else parse_machines(asked.gpus)
    plan, checked, failure = None, None, None
    try:
        with check_progress() as progress:
            checked = check_run(config, machines, offline=asked.offline, progress=progress)
        plan = checked.plan
    except InputError as error:
        failure = error
        plan = None if machines is None else plan_of(config, machines)
    lines = [] if plan is None else verdict(plan, asked.gpu_hour_usd)
    if machines is None:
        lines = [
            "The cluster was not asked whether this run fits: `eva doctor CONFIG` asks it; --gpus 8x80 plans for it"
        ]
    if failure is not None and (plan is None or not plan.problems):
        # in place of the line that says that it fits
        lines[: plan is not None] = [f"This run would be refused: {failure.given}"]
    lines += arithmetic(plan) if plan is not None and asked.arithmetic else []
    for line in lines:
        click.echo(printable(f"# {line}"))
    click.echo(as_yaml(config))
    if failure is not None:
        raise failure
    assert checked is not None
    for line in estimate(checked):
        click.echo(f"# {line}")
    for line in checked.checks:
        click.echo(printable(f"# checked: {line}"))
    click.echo("# every check passed; nothing was started")
