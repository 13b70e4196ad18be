"""`eva study`: plays a study, and shows and lists studies."""

from __future__ import annotations

import re
import shlex
import subprocess
from typing import TYPE_CHECKING

import click
from rich.console import Console
from typing_extensions import override

from cli.play import log_path
from cli.store_access import existing_store, store_of
from cli.study.show import export, report, show
from cli.terminal.check_progress import check_progress
from cli.terminal.formats import plain_table, print_json
from cli.terminal.log_file import chatter_to
from cli.terminal.safe_text import printable
from eva.errors import InfrastructureError, InputError
from eva.settings import Settings, read_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eva.studies.plan import PlannedRun, StudyPlan
    from eva.studies.study import StudyConfig
    from orchestrator.studies.player import PlayedRun
    from store.rows import RunRow
    from store.runs.studies import StudyRow
    from store.session import Store


STOPPING_S = 120.0
"""How long a process of `--jobs` may take to pause its run."""


class _FileFirst(click.Group):
    """A group whose `run` command may be left out: `eva study FILE`."""

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_FileFirst)
def study() -> None:
    """Compare arms over seeds and given models: `eva study FILE` plays a study, or continues it.

    A study is a YAML file or a preset (docs/studies.md). Its runs are ordinary runs of the store.
    """


study.add_command(show)
study.add_command(report)
study.add_command(export)


class _Seeds(click.ParamType[frozenset[int]]):
    """Training seeds, such as 0-3 or 4,6-9."""

    name = "seeds"

    @override
    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> frozenset[int]:
        seeds: set[int] = set()
        for part in str(value).split(","):
            ends = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", part)
            if ends is None or int(ends[2] or ends[1]) < int(ends[1]):
                self.fail(f"{value!r} names no seeds; give them like 0-3 or 4,6-9", param, ctx)
            seeds.update(range(int(ends[1]), int(ends[2] or ends[1]) + 1))
        return frozenset(seeds)


@study.command("run")
@click.argument("file")
@click.option("--dry-run", is_flag=True, help="Print the plan and what an arm would cost; start nothing.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes side by side.")
@click.option("--seeds", type=_Seeds(), metavar="LIST", help="Play only these of its seeds here, such as 0-3 or 4,6-9.")
@click.option("--accept-changes", is_flag=True, help="Continue although its runs were played by other code.")
@click.option("--part", hidden=True, metavar="I/N", help="Play every N-th seed and model, from the I-th on.")
def run_study(
    file: str, dry_run: bool, jobs: int, seeds: frozenset[int] | None, accept_changes: bool, part: str | None
) -> None:
    """Play the study of FILE, or continue it.

    FILE is YAML or a preset, such as study-smoke.
    """
    from eva.studies.files import load_study

    config = load_study(file)
    settings = read_settings()
    if seeds is not None and (unknown := sorted(seeds - {*config.seed_list})):
        raise InputError(
            f"--seeds names {unknown[0]}, which is no seed of study {config.name}",
            expected=f"some of {', '.join(map(str, config.seed_list))}",
            next_move="Name its own seeds, or change `seeds` in its file before anything has run",
        )
    if dry_run:
        _rehearse(config, settings)
        return
    from orchestrator.studies.given_models import make_models
    from orchestrator.studies.opening import open_study

    with store_of(settings) as store:
        study = open_study(store, config, str(settings.data_dir), accept=accept_changes)
        number, parts = (int(value) for value in (part or "0/1").split("/"))
        chosen = frozenset(config.seed_list) if seeds is None else seeds
        planned = [run for run in study.plan.part(number, parts) if run.cell.seed in chosen]
        make_models(dict.fromkeys(run.cell.model for run in planned), settings.data_dir, _say)
        if jobs > 1:
            _play_side_by_side(file, jobs, chosen, accept=accept_changes)
        else:
            name = study.row.name if part is None else f"{study.row.name}-{number}"
            played = _play(store, settings, study.row, planned, name, accept=accept_changes)
            _conclude(config.name, played)


@study.command("drive", hidden=True)
@click.argument("name")
def drive_study(name: str) -> None:
    """Play the stored study NAME as a Ray job; the launcher of a service calls this."""
    from eva.studies.study import StudyConfig
    from orchestrator.studies.given_models import make_models
    from orchestrator.studies.opening import open_study
    from store.runs.studies import find_study

    settings = read_settings()
    with store_of(settings) as store:
        with store.transaction() as conn:
            config = StudyConfig.model_validate(find_study(conn, name).config)
        study = open_study(store, config, str(settings.data_dir))
        make_models(dict.fromkeys(run.cell.model for run in study.plan.runs), settings.data_dir, _say)
        _conclude(name, _play(store, settings, study.row, study.plan.runs, name, accept=False))


@study.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(as_json: bool) -> None:
    """List the studies, newest first."""
    from eva.studies.study import StudyConfig
    from store.runs.studies import list_studies

    with existing_store() as store, store.transaction() as conn:
        rows = [(count, StudyConfig.model_validate(count.study.config)) for count in list_studies(conn)]
    if as_json:
        facts = [
            {
                "name": count.study.name,
                "question": config.question,
                "outcome": config.outcome.figure,
                "runs": len(config.arms) * len(config.seed_list) * max(1, len(config.models)),
                "by_status": count.by_status,
                "created_at": count.study.created_at.isoformat(),
            }
            for count, config in rows
        ]
        print_json(facts)
        return
    if not rows:
        click.echo("There are no studies. Start one with `eva study study-smoke`.")
        return
    console = Console(highlight=False)
    table = plain_table(console.width)
    for heading in ("study", "arms", "seeds", "models", "finished", "failed", "outcome"):
        table.add_column(heading, overflow="fold")
    for count, config in rows:
        models = max(1, len(config.models))
        runs = len(config.arms) * len(config.seed_list) * models
        table.add_row(
            printable(count.study.name),
            str(len(config.arms)),
            str(len(config.seed_list)),
            str(models),
            f"{count.by_status.get('finished', 0)} of {runs}",
            str(count.by_status.get("failed", 0)),
            config.outcome.figure,
        )
    console.print(table)


def _rehearse(config: StudyConfig, settings: Settings) -> None:
    """Prints the plan of a study, and what one run of its base would cost."""
    from eva.studies.plan import plan_study
    from orchestrator.launch.preflight import check_run, estimate
    from orchestrator.studies.given_models import missing_models, model_paths

    paths = model_paths(config, settings.data_dir)
    plan = plan_study(config, paths)
    for line in plan_lines(config, plan):
        click.echo(printable(line))
    missing = missing_models(paths)
    for name in missing:
        click.echo(printable(f"given model {name}: not there yet; the study makes it, about ten minutes on two cores"))
    first = next((run.config for run in plan.runs if not run.cell.shared and run.cell.model not in missing), None)
    if first is not None:
        with check_progress() as progress:
            checked = check_run(first, progress=progress)
        click.echo(printable(f"one run, such as {first.name}:"))
        for line in (*estimate(checked), *(f"checked: {line}" for line in checked.checks)):
            click.echo(printable(f"  {line}"))
    click.echo("nothing was started")


def plan_lines(config: StudyConfig, plan: StudyPlan) -> list[str]:
    """What a study will play, as lines for a person."""
    shared = sum(run.cell.shared for run in plan.runs)
    models = sorted({run.cell.model for run in plan.runs})
    lines = [
        f"study {config.name}: {len(config.arms)} arms x {len(config.seed_list)} seeds x {len(models)} given models "
        f"= {len(plan.runs) - shared} runs" + (f", and {shared} that several arms are forked from" if shared else ""),
        f"outcome {config.outcome.figure}, {config.outcome.better} is better",
        f"equal in all arms: at most {config.match.limit:,} {config.match.quantity}"
        if config.match
        else "equal in all arms: nothing",
        f"given models: {', '.join(models)}",
    ]
    starts = {run.cell.arm: run.at for run in plan.runs if not run.cell.shared}
    for name, changes in plan.changes.items():
        values = ", ".join(f"{key}={value}" for key, value in changes.items()) or "the base"
        lines.append(f"  {name}: {values}" + (f"; shares iterations 0 to {starts[name] - 1}" if starts[name] else ""))
    return lines + [f"compared: {one} - {other}" for one, other in config.comparisons]


def _play(
    store: Store, settings: Settings, study: StudyRow, planned: Sequence[PlannedRun], name: str, *, accept: bool
) -> list[PlayedRun]:
    from orchestrator.driver import drive
    from orchestrator.hold.interrupts import interrupt_handlers
    from orchestrator.studies.player import play_study
    from orchestrator.warm_workers import WarmWorkers
    from orchestrator.watch.listener import NoListener

    with chatter_to(settings.logs_dir / "studies" / f"{name}.log", settings.log_format) as terminal:
        done = 0

        def tell(played: PlayedRun) -> None:
            nonlocal done
            done += 1
            terminal.write(printable(f"[{done}/{len(planned)}] {_line(played)}") + "\n")
            terminal.flush()

        def play(run: RunRow) -> None:
            with chatter_to(log_path(settings, run), settings.log_format):
                drive(store, settings, run, NoListener(), warm=warm)

        with interrupt_handlers(), WarmWorkers(settings) as warm:
            return play_study(store, study, planned, play, tell, accept=accept)


def _line(played: PlayedRun) -> str:
    cell = played.planned.cell
    place = f"seed {cell.seed}, {cell.model}, {'shared' if cell.shared else cell.arm}"
    name = f" ({played.run.name})" if played.run else ""
    took = f" in {played.seconds:.0f} s" if played.seconds else ""
    reason = f": {played.error}" if played.error else ""
    return f"{place}: {played.state}{took}{name}{reason}"


def _play_side_by_side(file: str, jobs: int, seeds: frozenset[int], *, accept: bool) -> None:
    """Plays parts of the study in processes of their own, and waits for all of them.

    An interrupt reaches this process alone, which passes it on and waits until their runs are paused.
    """
    from orchestrator.hold.interrupts import interrupt_handlers
    from workers.cluster.environment import python_module

    command = [*python_module("cli.main"), "study", "run", file, "--seeds", ",".join(map(str, sorted(seeds)))]
    command += ["--accept-changes"] if accept else []
    children = [
        subprocess.Popen([*command, "--part", f"{number}/{jobs}"], start_new_session=True) for number in range(jobs)
    ]
    with interrupt_handlers():
        try:
            codes = [child.wait() for child in children]  # bounded: each child plays its part and ends
        except KeyboardInterrupt:
            for child in children:
                child.terminate()
            for child in children:
                child.wait(timeout=STOPPING_S)
            raise
    if any(codes):
        raise InfrastructureError(
            f"{sum(map(bool, codes))} of {jobs} processes of the study ended early (exit codes {codes})",
            next_move=f"Read what they printed, then continue with: eva study {shlex.quote(file)} --jobs {jobs}",
        )


def _conclude(name: str, played: Sequence[PlayedRun]) -> None:
    """Lists the runs that are not finished. Raises InfrastructureError if the same command would continue one."""
    _say(f"See the result with: eva study show {shlex.quote(name)}")
    left = [each for each in played if each.state != "finished"]
    for each in left:
        _say(f"not finished: {_line(each)}")
    if any(each.state != "cancelled" for each in left):
        raise InfrastructureError(
            f"{len(left)} of {len(played)} runs of study {name} are not finished",
            next_move="Read why above, and run the same command again: it continues them",
        )


def _say(line: str) -> None:
    click.echo(printable(line))
