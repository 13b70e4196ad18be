"""`eva delete`: hides a run from lists, and frees its disk if asked."""

from __future__ import annotations

import click

from cli.store_access import existing_store, find
from cli.terminal.safe_text import printable
from eva.settings import read_settings


@click.command()
@click.argument("run")
@click.option("--purge", is_flag=True, help="Also delete its checkpoints, token records and logs, for good.")
@click.option("--dry-run", is_flag=True, help="With --purge: say what would be deleted, and change nothing.")
def delete(run: str, purge: bool, dry_run: bool) -> None:
    """Hide RUN from lists. `eva restore` shows it again.

    With --purge its files are deleted: checkpoints, token records, logs, files of training jobs. Checkpoints that
    another run needs or keeps stay. Prompts, responses and pairs stay in the database. A deleted run is found by its
    whole name.
    """
    from orchestrator.hold import pruning
    from orchestrator.hold.control import hide, stopped_run
    from store.game.checkpoints import read_checkpoints
    from store.runs.token_files import read_token_files

    if dry_run and not purge:
        raise click.UsageError("--dry-run goes with --purge")
    settings = read_settings()
    with existing_store() as store:
        row = find(store, run)
        folder, name = settings.runs_dir / row.folder_name, printable(row.name)
        with store.transaction() as conn:
            tokens = sum(file.size for file in read_token_files(conn, row.id) if not file.pruned)
        if dry_run:
            with store.transaction() as conn:
                planned = pruning.plan_purging(conn, row, folder)
        else:
            with stopped_run(store, row, "deleted") as conn:
                hide(conn, row, hidden=True)
                planned = pruning.mark_purged(conn, row, folder) if purge else None
        if planned is None:
            click.echo(f"{name} is hidden from lists. `eva restore {name}` shows it again; --purge frees its disk.")
            return
        if not dry_run:
            with store.transaction() as conn:
                rows = read_checkpoints(conn, row.id)
            pruning.delete(rows, folder)
            pruning.remove_rest(folder, settings.logs_dir / row.folder_name)
    for number, why in planned.kept.items():
        click.echo(printable(f"kept     checkpoint {number}: {why}"))
    for doomed in planned.doomed:
        click.echo(f"{'would go' if dry_run else 'deleted '} checkpoint {doomed.number}")
    if tokens:
        click.echo(f"{'would go' if dry_run else 'deleted '} token records: {tokens / 1e9:,.3f} GB")
    click.echo(f"{name}: {planned.bytes / 1e9:,.2f} GB of checkpoints {'would be' if dry_run else 'were'} freed.")
