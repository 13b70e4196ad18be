"""The families of a run's prompts: everything that came from one seed prompt, and its part of each batch."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from store.schema.tables import batches, prompts


@dataclass(frozen=True, slots=True)
class FamilyRow:
    """A seed prompt with the number of its descendants. `members`: the prompts of its family in each batch."""

    root: int
    text: str
    descendants: int
    members: dict[int, int]


@dataclass(frozen=True, slots=True)
class Families:
    """The largest families of a run. `count`: of all its families; `sizes`: of the batch of each iteration."""

    count: int
    sizes: dict[int, int]
    rows: list[FamilyRow]


def read_families(conn: Connection, run_id: int, limit: int, longest: int) -> Families:
    """Returns the families with the most descendants, with texts of at most `longest` characters."""
    of_run = prompts.c.run_id == run_id
    descendants = (func.count() - 1).label("descendants")
    grouped = select(prompts.c.root, descendants).where(of_run).group_by(prompts.c.root).subquery()
    seeds = (prompts.c.run_id == run_id) & (prompts.c.number == grouped.c.root)
    rows = conn.execute(
        select(grouped.c.root, func.left(prompts.c.text, longest), grouped.c.descendants)
        .join(prompts, seeds)
        .order_by(grouped.c.descendants.desc(), grouped.c.root)
        .limit(limit)
    ).all()
    held = prompts.c.run_id == batches.c.run_id, prompts.c.number == batches.c.prompt
    joined = select(batches.c.iteration, prompts.c.root, func.count()).join(prompts, held[0] & held[1])
    in_batches = joined.where(batches.c.run_id == run_id).group_by(batches.c.iteration, prompts.c.root)
    members: dict[int, dict[int, int]] = {root: {} for root, *_ in rows}
    sizes: dict[int, int] = {}
    for iteration, root, count in conn.execute(in_batches):
        sizes[iteration] = sizes.get(iteration, 0) + count
        if root in members:
            members[root][iteration] = count
    total = conn.execute(select(func.count()).select_from(grouped)).scalar_one()
    return Families(
        total, dict(sorted(sizes.items())), [FamilyRow(root, text, count, members[root]) for root, text, count in rows]
    )
