"""Queries about costs: what evolving and rewarding cost, in US dollars by LiteLLM's prices."""

from __future__ import annotations

from sqlalchemy import Connection, text

from store.rows import JudgeRole

# an iteration asks the checkpoint of its own number and evaluates the next one, the first of all the initial model too
_OF_ITERATION = text("""
    SELECT
        (SELECT coalesce(sum(cost_usd), 0) FROM evolutions WHERE run_id = :run_id AND iteration = :iteration),
        (SELECT coalesce(sum(value), 0) FROM rewards
            WHERE run_id = :run_id AND checkpoint = :iteration AND rewarder LIKE '%/cost_usd'),
        (SELECT coalesce(sum(value), 0) FROM heldout_parts
            WHERE run_id = :run_id AND checkpoint BETWEEN :first AND :iteration + 1 AND name LIKE '%/cost_usd')
""")

_OF_REWARDER = text("""
    SELECT part, sum(value) FROM (
        SELECT substr(rewarder, length(owner) + 2) AS part, value
        FROM rewards JOIN unnest(CAST(:owners AS text[])) AS owner ON starts_with(rewarder, owner || '/')
        WHERE :batches AND run_id = :run_id AND rewarder LIKE '%/cost_usd'
        UNION ALL
        SELECT substr(name, length(owner) + 2), value
        FROM heldout_parts JOIN unnest(CAST(:owners AS text[])) AS owner ON starts_with(name, owner || '/')
        WHERE run_id = :run_id AND role = CAST(:role AS text) AND name LIKE '%/cost_usd'
    ) AS found WHERE value IS NOT NULL GROUP BY part ORDER BY part
""")


def iteration_cost(conn: Connection, run_id: int, iteration: int) -> dict[str, float]:
    """What did an iteration cost? Its evolutions, its rewards, and those of the held-out answers that it evaluated."""
    values = {"run_id": run_id, "iteration": iteration, "first": iteration + 1 if iteration else 0}
    evolving, rewards, held_out = conn.execute(_OF_ITERATION, values).one()
    return {"evolving": float(evolving), "rewards": float(rewards), "held_out": float(held_out)}


def rewarder_cost(
    conn: Connection, run_id: int, name: str, *, batches: bool, role: JudgeRole | None
) -> dict[str, float]:
    """Returns what a rewarder has cost, by part: `cost_usd` of a judge, `MEMBER/cost_usd` of an ensemble's member.

    With `batches`, counts its rewards of pools and batches and the gate's probes; with `role`, those in that role on
    held-out responses.
    """
    values = {"run_id": run_id, "owners": [name, f"{name} (gate)"], "batches": batches, "role": role}
    return {part: float(total) for part, total in conn.execute(_OF_REWARDER, values)}
