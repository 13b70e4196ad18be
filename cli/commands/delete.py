"""`eva delete`: hides a run from lists, and frees its disk if asked."""

from __future__ import annotations

import sys

import click

from cli.store_access import existing_store, find
from cli.terminal.safe_text import printable
from eva.settings import read_settings


@click.command()
@click.argument("run")
@click.option("--purge", is_flag=True, help="Also delete its checkpoints, token records and logs, for good.")
@click.option("--yes", is_flag=True, help="With --purge: do not ask first, for scripts.")
@click.option("--dry-run", is_flag=True, help="With --purge: say what would be deleted, and change nothing.")
def delete(run: str, purge: bool, yes: bool, dry_run: bool) -> None:
    """Hide RUN from lists. `eva restore` shows it again.

    With --purge its files are deleted: checkpoints, token records, logs, files of training jobs. Checkpoints that
    another run needs or keeps stay. Prompts, responses and pairs stay in the database. It asks before, unless --yes
    is given. A deleted run is found by its whole name.
    """
    from orchestrator.hold import pruning
    from orchestrator.hold.control import hide, stopped_run
    from store.game.checkpoints import read_checkpoints
    from store.runs.token_files import read_token_files

    if dry_run and not purge:
        raise click.UsageError("--dry-run goes with --purge")
    if yes and not purge:
        raise click.UsageError("--yes goes with --purge: hiding a run asks nothing")
    settings = read_settings()
    with existing_store() as store:
        row = find(store, run)
        folder, name = settings.runs_dir / row.folder_name, printable(row.name)
        with store.transaction() as conn:
            tokens = sum(file.size for file in read_token_files(conn, row.id, player=None) if not file.pruned)
        planned = None
        if purge and (dry_run or not yes):
            with store.transaction() as conn:
                planned = pruning.plan_purging(conn, row, folder)
            if not dry_run:
                _confirm(name, planned.bytes + tokens)
        if not dry_run:
            with stopped_run(store, row, "deleted") as conn:
                hide(conn, row, hidden=True)
                planned = pruning.mark_purged(conn, row, folder) if purge else None
        if planned is None:
            click.echo(f"{name} is hidden from lists. `eva restore {name}` shows it again; --purge frees its disk.")
            return
        if not dry_run:
            with store.transaction() as conn:
                rows = read_checkpoints(conn, row.id, None)
            pruning.delete(rows, folder, row.stored_name)
            pruning.remove_stored_rest(row, folder)
            pruning.remove_rest(folder, settings.logs_dir / row.folder_name)
    for number, why in planned.kept.items():
        click.echo(printable(f"kept     checkpoint {number}: {why}"))
    for doomed in planned.doomed:
        whose = " of the creator" if doomed.player == "creator" else ""
        click.echo(f"{'would go' if dry_run else 'deleted '} checkpoint {doomed.number}{whose}")
    if tokens:
        click.echo(f"{'would go' if dry_run else 'deleted '} token records: {tokens / 1e9:,.3f} GB")
    click.echo(f"{name}: {planned.bytes / 1e9:,.2f} GB of checkpoints {'would be' if dry_run else 'were'} freed.")


def _confirm(name: str, freed: int) -> None:
    """Asks whether to purge, on a terminal. Raises click.UsageError where nobody can answer, click.Abort for no."""
    if not _answers():
        raise click.UsageError(f"--purge deletes the files of {name} for good: add --yes where nobody can be asked")
    click.confirm(
        f"Delete the checkpoints, token records and logs of {name} for good ({freed / 1e9:,.2f} GB)?", abort=True
    )


def _answers() -> bool:
    return sys.stdin.isatty()
