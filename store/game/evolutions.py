"""Queries about evolutions: the attempts made from each sampled prompt, their children, what these were worth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from itertools import groupby

from sqlalchemy import Connection, select, text

from eva.child_rewards import ChildReward, Writing
from eva.types import Attempt, Chain, Reply
from store.postgres.bulk import Row, copy_once
from store.postgres.values import clean_text, clean_text_or_none
from store.schema.tables import creator_rewards, evolutions

_EVOLUTIONS = (
    "run_id",
    "iteration",
    "source",
    "slot",
    "attempt",
    "operator",
    "parent_slot",
    "text",
    "reason",
    "prompt_tokens",
    "reply_tokens",
    "cost_usd",
    "reference",
    "guide",
)

_REWARDS = (
    "run_id",
    "iteration",
    "source",
    "slot",
    "attempt",
    "regret",
    "likeness",
    "reward",
    "advantage",
    "reason",
)

_ASSIGN = text("""
    UPDATE evolutions SET child = assigned.child
    FROM unnest(CAST(:sources AS int[]), CAST(:slots AS int[]), CAST(:children AS int[]))
        AS assigned (source, slot, child)
    WHERE evolutions.run_id = :run_id AND evolutions.iteration = :iteration
      AND evolutions.source = assigned.source AND evolutions.slot = assigned.slot AND evolutions.reason IS NULL
""")

# of several replies that became one child, the first in canonical order wrote it
_WRITINGS = text("""
    SELECT e.source, e.slot, e.attempt, e.written AS child, b.prompt IS NOT NULL AS judged, b.info, p.likeness,
        e.reply_tokens > 0
    FROM (SELECT *, CASE WHEN row_number() OVER (PARTITION BY child ORDER BY source, slot) = 1 THEN child END AS written
          FROM evolutions WHERE run_id = :run_id AND iteration = :iteration) e
    LEFT JOIN prompts p ON p.run_id = e.run_id AND p.number = e.written
    LEFT JOIN batches b ON b.run_id = e.run_id AND b.iteration = e.iteration AND b.prompt = e.written AND NOT b.buffer
    ORDER BY e.source, e.slot, e.attempt
""")

_FIGURES = text("""
    SELECT r.iteration, count(*), count(*) FILTER (WHERE e.reason IS NULL),
        count(r.likeness), avg(r.regret), avg(r.likeness), avg(r.reward), stddev_samp(r.reward), count(r.reward),
        count(r.advantage)
    FROM creator_rewards r JOIN evolutions e USING (run_id, iteration, source, slot, attempt)
    WHERE r.run_id = :run_id GROUP BY r.iteration ORDER BY r.iteration
""")


@dataclass(frozen=True, slots=True)
class CreatorFigures:
    """What the creator's replies of one iteration were worth.

    `accepted`: replies that no check refused; `children`: those that also repeat no other child of the iteration, and
    became prompts. `regret`, `likeness` and `reward` are means over the replies that have one, `spread` is the standard
    deviation of the rewards, `judged` the number of rewards, `trained` the number of replies with an advantage.
    """

    iteration: int
    replies: int
    accepted: int
    children: int
    regret: float | None
    likeness: float | None
    reward: float | None
    spread: float | None
    judged: int
    trained: int


def copy_chains(conn: Connection, run_id: int, iteration: int, chains: Iterable[Chain]) -> None:
    """Stores chains of attempts. Rows that exist already stay as they are."""
    rows = [_evolution(run_id, iteration, chain.source, attempt) for chain in chains for attempt in chain.attempts]
    copy_once(conn, evolutions, _EVOLUTIONS, rows)


def read_chains(conn: Connection, run_id: int, iteration: int) -> list[Chain]:
    """Returns an iteration's chains by source, and their attempts by slot and attempt."""
    query = (
        select(evolutions)
        .where(evolutions.c.run_id == run_id, evolutions.c.iteration == iteration)
        .order_by(evolutions.c.source, evolutions.c.slot, evolutions.c.attempt)
    )
    grouped = groupby(conn.execute(query), key=lambda row: int(row.source))
    return [
        Chain(
            source,
            tuple(
                Attempt(
                    row.slot,
                    row.attempt,
                    row.operator,
                    row.parent_slot,
                    Reply(row.text, row.prompt_tokens, row.reply_tokens, row.cost_usd, reference=row.reference),
                    row.reason,
                    row.guide,
                )
                for row in rows
            ),
        )
        for source, rows in grouped
    ]


def assign_children(conn: Connection, run_id: int, iteration: int, children: Sequence[tuple[int, int, int]]) -> None:
    """Stores which prompt each accepted evolution became: (source, slot, child's number)."""
    conn.execute(
        _ASSIGN,
        {
            "run_id": run_id,
            "iteration": iteration,
            "sources": [source for source, _, _ in children],
            "slots": [slot for _, slot, _ in children],
            "children": [child for _, _, child in children],
        },
    )


def read_writings(conn: Connection, run_id: int, iteration: int) -> list[Writing]:
    """Returns an iteration's replies with what decides their worth, by source, slot and attempt."""
    rows = conn.execute(_WRITINGS, {"run_id": run_id, "iteration": iteration})
    return [Writing(*row) for row in rows]


def copy_creator_rewards(conn: Connection, run_id: int, iteration: int, rewarded: Sequence[ChildReward]) -> None:
    """Stores what an iteration's replies are worth. Rows that exist already stay as they are."""
    copy_once(conn, creator_rewards, _REWARDS, [(run_id, iteration, *astuple(reward)) for reward in rewarded])


def read_creator_rewards(conn: Connection, run_id: int, iteration: int) -> list[ChildReward]:
    """Returns what an iteration's replies are worth, by source, slot and attempt."""
    fields = [creator_rewards.c[name] for name in _REWARDS[2:]]
    query = (
        select(*fields)
        .where(creator_rewards.c.run_id == run_id, creator_rewards.c.iteration == iteration)
        .order_by(creator_rewards.c.source, creator_rewards.c.slot, creator_rewards.c.attempt)
    )
    return [ChildReward(*row) for row in conn.execute(query)]


def creator_figures(conn: Connection, run_id: int) -> list[CreatorFigures]:
    """Returns the figures of every iteration whose creator had weights of its own, in order."""
    return [CreatorFigures(*row) for row in conn.execute(_FIGURES, {"run_id": run_id})]


def _evolution(run_id: int, iteration: int, source: int, attempt: Attempt) -> Row:
    reply = attempt.reply
    return (
        run_id,
        iteration,
        source,
        attempt.slot,
        attempt.attempt,
        attempt.operator,
        attempt.parent_slot,
        clean_text(reply.text),
        clean_text_or_none(attempt.reason),
        reply.prompt_tokens,
        reply.reply_tokens,
        reply.cost_usd,
        clean_text_or_none(reply.reference),
        attempt.guide,
    )
