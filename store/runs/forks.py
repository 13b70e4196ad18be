"""Copies a run's history into a new run, with one INSERT … SELECT per table, inside the caller's transaction."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, func, insert, literal, select, update

from store.schema.tables import metadata, prompts, runs

SHARED: dict[str, tuple[str, int]] = {
    # table: the column that dates a row, and how far beyond the last shared iteration rows are copied
    "prompts": ("born", 0),
    "heldout_prompts": ("", 0),
    "heldout_baselines": ("", 0),
    "responses": ("checkpoint", 0),
    "rewards": ("checkpoint", 0),
    "quarantines": ("checkpoint", 0),
    "estimates": ("iteration", 0),
    "evolutions": ("iteration", 0),
    "creator_rewards": ("iteration", 0),
    "batches": ("iteration", 0),
    "chunks": ("iteration", 0),
    "pairs": ("iteration", 0),
    "advantages": ("iteration", 0),
    "prompt_categories": ("iteration", 0),
    # the checkpoint that an iteration starts from was trained and evaluated by the iteration before it
    "checkpoints": ("number", 1),
    "training_steps": ("checkpoint", 1),
    "heldout_responses": ("checkpoint", 1),
    "heldout_comparisons": ("checkpoint", 1),
    "heldout_parts": ("checkpoint", 1),
    "stages": ("iteration", 0),
    "statistics": ("iteration", 0),
}
"""The tables that a fork copies, in an order in which every foreign key finds its row."""

OWN = (
    *("runs", "leases", "events", "launches", "api_keys", "exports", "trackings", "stage_totals"),
    *("webhooks", "webhook_deliveries"),
    *("studies", "study_runs", "study_launches"),
    # files of the run's own folder; a fork answers its first iteration itself
    "token_files",
)
"""The tables that a fork does not copy: each run has its own rows, or the rows belong to no run."""


def copy_history(conn: Connection, parent: int, run_id: int, at: int) -> int:
    """Copies everything of `parent` up to the start of iteration `at` into a new run, and returns its prompt count.

    Rows of finished iterations never change, so the parent may be running meanwhile.
    """
    for name, (column, beyond) in SHARED.items():
        _copy(conn, name, parent, run_id, column, at + beyond)
    count = select(func.count()).where(prompts.c.run_id == run_id).scalar_subquery()
    conn.execute(
        update(runs)
        .where(runs.c.id == run_id)
        .values(prompt_count=count, iteration=at, forked_from=parent, forked_at=at)
    )
    return int(conn.execute(select(runs.c.prompt_count).where(runs.c.id == run_id)).scalar_one())


def _copy(conn: Connection, name: str, parent: int, run_id: int, column: str, before: int) -> None:
    table = metadata.tables[name]
    columns = [each for each in table.columns if each.name != "run_id"]
    of_parent: ColumnElement[bool] = table.c.run_id == parent
    rows = select(literal(run_id), *columns).where(of_parent, *([table.c[column] < before] if column else []))
    conn.execute(insert(table).from_select(["run_id", *(each.name for each in columns)], rows))
