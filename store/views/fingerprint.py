"""The fingerprint of a run: a digest over everything that it decided, and one for each part of each iteration.

Rows are read in canonical order as Postgres writes them for COPY: floats in the shortest form that gives the same
bits back, texts escaped. Times, costs, events and attempts of stages are not decisions, so they are left out. The
digests of the weights are listed separately: on GPUs two trainings may differ in the last bits without a different
decision.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from psycopg import sql
from sqlalchemy import Connection, text

from store.game.checkpoints import read_checkpoints
from store.postgres.bulk import driver

START = -1
"""The iteration of what exists before the first one: seed and held-out prompts, and the initial model's responses."""

PARTS = (
    "heldout_prompts",
    "heldout_references",
    "pool_responses",
    "pool_quarantines",
    "pool_rewards",
    "info",
    "draw",
    "evolutions",
    "prompts",
    "references",
    "guards",
    "child_responses",
    "child_quarantines",
    "child_rewards",
    "batch",
    "chunks",
    "steps",
    "pairs",
    "advantages",
    "creator_rewards",
    "categories",
    "heldout",
)
"""The parts of an iteration in the order in which they are decided. Look first at the first one that differs."""

# An iteration judges with the checkpoint of its own number. Responses to its own children are a part of their own.
_BY_POLICY = """
    SELECT {table}.checkpoint, CASE WHEN born = {table}.checkpoint THEN 'child' ELSE 'pool' END || '_{table}', {columns}
    FROM {table} JOIN prompts ON prompts.run_id = {table}.run_id AND prompts.number = {table}.prompt
    WHERE {table}.run_id = %s {only} ORDER BY {order}
"""

# Each selects the iteration and the part first, then what the digest covers.
_QUERIES = (
    """SELECT -1, 'heldout_prompts', split, item, text, context FROM heldout_prompts WHERE run_id = %s
    ORDER BY split COLLATE "C", item""",
    """SELECT born, 'prompts', number, text, context, topic, parent, root, operator, depth FROM prompts
    WHERE run_id = %s ORDER BY number""",
    # only runs with a pull for novelty or a guide have such rows
    """SELECT born, 'guards', number, likeness, guide FROM prompts
    WHERE run_id = %s AND (likeness IS NOT NULL OR guide IS NOT NULL) ORDER BY number""",
    # only runs with reference answers have such rows, so that other runs keep their fingerprints
    """SELECT born, 'references', number, reference FROM prompts
    WHERE run_id = %s AND reference IS NOT NULL ORDER BY number""",
    """SELECT -1, 'heldout_references', split, item, reference FROM heldout_prompts
    WHERE run_id = %s AND reference IS NOT NULL ORDER BY split COLLATE "C", item""",
    _BY_POLICY.format(
        table="responses",
        columns="prompt, sample, text_hash, finish, tokens, seed",
        only="",
        order="prompt, checkpoint, sample",
    ),
    _BY_POLICY.format(table="quarantines", columns="prompt, reason", only="", order="prompt, checkpoint"),
    _BY_POLICY.format(
        table="rewards",
        columns="prompt, sample, rewarder, value, reason",
        only="AND rewarder NOT LIKE '%%/cost_usd'",
        order='prompt, checkpoint, sample, rewarder COLLATE "C"',
    ),
    """SELECT iteration, 'info', prompt, checkpoint, info, reason FROM estimates WHERE run_id = %s
    ORDER BY iteration, prompt""",
    """SELECT iteration, 'draw', prompt, weight, key, sampled FROM estimates WHERE run_id = %s
    ORDER BY iteration, prompt""",
    """SELECT iteration, 'evolutions', source, slot, attempt, operator, parent_slot, text, reason, child
    FROM evolutions WHERE run_id = %s ORDER BY iteration, source, slot, attempt""",
    """SELECT iteration, 'batch', prompt, buffer, checkpoint, info, reason FROM batches WHERE run_id = %s
    ORDER BY iteration, prompt""",
    # only semi-online training has such rows, so that other runs keep their fingerprints
    """SELECT checkpoint, 'steps', prompt, sample, step FROM responses WHERE run_id = %s AND step > 0
    ORDER BY prompt, checkpoint, sample""",
    """SELECT iteration, 'chunks', prompt, chunk FROM batches WHERE run_id = %s AND chunk IS NOT NULL
    ORDER BY iteration, prompt""",
    """SELECT iteration, 'pairs', prompt, chosen, rejected, checkpoint, chosen_reward, rejected_reward, margin
    FROM pairs WHERE run_id = %s ORDER BY iteration, prompt, chosen, rejected""",
    """SELECT iteration, 'advantages', prompt, sample, checkpoint, reward, advantage, reason
    FROM advantages WHERE run_id = %s ORDER BY iteration, prompt, sample""",
    # only a creator with weights of its own has such rows
    """SELECT iteration, 'creator_rewards', source, slot, attempt, regret, likeness, reward, advantage, reason
    FROM creator_rewards WHERE run_id = %s ORDER BY iteration, source, slot, attempt""",
    """SELECT iteration, 'categories', prompt, category, score FROM prompt_categories WHERE run_id = %s
    ORDER BY iteration, prompt""",
    """SELECT checkpoint - 1, 'heldout', split, mode, item, sample, text, finish, tokens, reward, reason
    FROM heldout_responses WHERE run_id = %s
    ORDER BY checkpoint, split COLLATE "C", mode COLLATE "C", item, sample""",
)


@dataclass(frozen=True, slots=True)
class PartDigest:
    """One part of one iteration: how many rows it has, and the SHA-256 over them."""

    iteration: int
    part: str
    rows: int
    digest: str


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a run decided. Runs with equal `digest` decided the same. `weights` are its checkpoints' digests."""

    digest: str
    parts: tuple[PartDigest, ...]
    weights: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class FirstDifference:
    """Where two runs first differ. A run that has no rows there is None."""

    iteration: int
    part: str
    one: PartDigest | None
    other: PartDigest | None


def fingerprint(conn: Connection, run_id: int) -> Fingerprint:
    """Computes a run's fingerprint in one pass over each table, with one row in memory at a time.

    Call `begin_snapshot` before: otherwise a run that is playing changes between the passes.
    """
    conn.execute(text("SET LOCAL extra_float_digits = 1"))
    unsorted = [part for query in _QUERIES for part in _digests(conn, query, run_id)]
    parts = tuple(sorted(unsorted, key=_position))
    whole = hashlib.sha256("".join(map(_line, parts)).encode()).hexdigest()
    weights = tuple((row.number, row.digest) for row in read_checkpoints(conn, run_id))
    return Fingerprint(whole, parts, weights)


def first_difference(one: Fingerprint, other: Fingerprint) -> FirstDifference | None:
    """Returns the first part of the first iteration in which two runs differ, or None when they decided the same."""
    ones, others = ({_position(part): part for part in each.parts} for each in (one, other))
    for position in sorted({*ones, *others}):
        mine, theirs = ones.get(position), others.get(position)
        if mine != theirs:
            return FirstDifference(position[0], PARTS[position[1]], mine, theirs)
    return None


def _digests(conn: Connection, query: str, run_id: int) -> list[PartDigest]:
    digests: dict[bytes, tuple[int, Any]] = {}
    for line in _copied(conn, query, run_id):
        iteration, part, rest = line.split(b"\t", 2)
        key = iteration + b"\t" + part
        rows, digest = digests.get(key) or (0, hashlib.sha256())
        digest.update(rest + b"\n")
        digests[key] = rows + 1, digest
    return [
        PartDigest(int(iteration), part.decode(), rows, digest.hexdigest())
        for (iteration, part), rows, digest in (
            (key.split(b"\t"), rows, digest) for key, (rows, digest) in digests.items()
        )
    ]


def _copied(conn: Connection, query: str, run_id: int) -> Iterator[bytes]:
    """Streams the rows as COPY writes them, with line breaks inside texts escaped."""
    statement = sql.SQL("COPY ({}) TO STDOUT").format(sql.SQL(query))  # pyright: ignore[reportArgumentType] - queries are literals of this file
    with driver(conn).cursor() as cursor, cursor.copy(statement, [run_id]) as copy:
        rest = b""
        for block in copy:
            *lines, rest = (rest + bytes(block)).split(b"\n")
            yield from lines


def _position(part: PartDigest) -> tuple[int, int]:
    return part.iteration, PARTS.index(part.part)


def _line(part: PartDigest) -> str:
    return f"{part.iteration} {part.part} {part.rows} {part.digest}\n"
