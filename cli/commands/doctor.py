"""`eva doctor`: checks this machine and says how to fix what would fail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from cli.diagnosis import diagnose, diagnose_config
from cli.finding import Finding
from cli.reward_diagnosis import diagnose_reward
from cli.terminal.formats import print_json
from cli.terminal.safe_text import printable
from eva.settings import Settings, read_settings

MARKS = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}


@click.command()
@click.argument("config", required=False)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="With CONFIG: override a key.")
@click.option("--gpus", metavar="MACHINES", help="With CONFIG: check it for these machines, as 8x80 or 4:8xH100.")
@click.option("--reward", is_flag=True, help="With CONFIG: let its rewarder choose between good and bad responses.")
@click.option(
    "--pairs",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --reward: pairs of your own, with columns prompt, chosen, rejected, category.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--reap", is_flag=True, help="End the processes that dead drivers left on this machine, and do nothing else."
)
@click.pass_context
def doctor(
    ctx: click.Context,
    config: str | None,
    overrides: tuple[str, ...],
    gpus: str | None,
    reward: bool,
    pairs: Path | None,
    as_json: bool,
    reap: bool,
) -> None:
    """Check this machine: what is installed, what would fail, and how to fix it.

    With CONFIG (a YAML file or a preset) it checks that config in place of the machine: whether it fits, with the
    arithmetic, and everything else that a run finds out before it starts. With --reward it asks the config's rewarder
    about pairs of responses of which one is better beyond doubt; a judge is paid for that. Exits with 1 if something is
    broken.
    """
    if config is None and (overrides or gpus or reward):
        raise click.UsageError("--set, --gpus and --reward go with a CONFIG")
    if pairs is not None and not reward:
        raise click.UsageError("--pairs goes with --reward")
    if reward and gpus:
        raise click.UsageError("give either --gpus or --reward: a rewarder is asked on this machine")
    if reap:
        _reap(as_json)
        return
    console = Console(highlight=False)
    findings: list[Finding] = []
    settings = read_settings()
    for finding in _findings(settings, config, overrides, gpus, pairs, reward=reward):
        findings.append(finding)
        if not as_json:
            console.print(_line(finding), soft_wrap=True)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    broken = [finding for finding in findings if finding.verdict == "fail"]
    if not as_json:
        named = ", ".join(printable(finding.check) for finding in broken)
        whole = "Everything that a run needs works." if config is None else "This config can be played."
        if reward:
            doubtful = any(finding.verdict == "warn" for finding in findings)
            whole = "Read the warnings before you trust it." if doubtful else "It prefers what it should."
        console.print(Text(f"\nBroken: {named}." if broken else f"\n{whole}"))
    ctx.exit(1 if broken else 0)


def _findings(
    settings: Settings,
    config: str | None,
    overrides: tuple[str, ...],
    gpus: str | None,
    pairs: Path | None,
    *,
    reward: bool,
) -> Iterator[Finding]:
    if config is None:
        return diagnose(settings)
    return diagnose_reward(config, overrides, pairs) if reward else diagnose_config(settings, config, overrides, gpus)


def _reap(as_json: bool) -> None:
    """End orphaned processes, remove folders of dead Ray sessions, and print both."""
    from orchestrator.hold.orphans import end_orphans, remove_sessions

    orphans, folders = end_orphans(), remove_sessions(0)
    if as_json:
        facts = {"processes": [asdict(orphan) for orphan in orphans], "folders": [str(folder) for folder in folders]}
        print_json(facts)
        return
    for orphan in orphans:
        click.echo(printable(f"ended process {orphan.pid} of the dead driver {orphan.driver}: {orphan.name}"))
    for folder in folders:
        click.echo(printable(f"removed {folder}"))
    click.echo(f"Ended {len(orphans)} orphaned processes and removed {len(folders)} folders of dead Ray sessions.")


def _line(finding: Finding) -> Text:
    mark, style = MARKS[finding.verdict]
    line = Text.assemble((f"{mark} ", style), f"{finding.check:<15} ", printable(finding.detail))
    if finding.remedy:
        line.append(f"\n  {'':<15} {printable(finding.remedy)}", style=style)
    return line
