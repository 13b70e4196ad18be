"""Queries behind the report of a run: figures per checkpoint, one telling family, one telling example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from store.rows import RunRow
from store.runs.runs import get_run

LAST_STEPS = 4
"""The loss and margin that a training ended with are means over so many logged steps."""


@dataclass(frozen=True, slots=True)
class TrainingEnd:
    """How a checkpoint's training ended; `loss` and `margin` are means of its last steps, or None."""

    checkpoint: int
    steps: int
    loss: float | None
    margin: float | None


@dataclass(frozen=True, slots=True)
class HeldoutScore:
    """One checkpoint on one split in one mode; `deviation` is the rewards' sample standard deviation."""

    checkpoint: int
    split: str
    mode: str
    n: int
    rewarded: int
    correct: int
    reward: float | None
    deviation: float | None
    binary: bool


@dataclass(frozen=True, slots=True)
class Member:
    """A prompt of a family; `info` and `checkpoint` are those of the first time it was judged, else None."""

    number: int
    parent: int | None
    operator: str | None
    depth: int
    born: int
    text: str
    iteration: int | None
    checkpoint: int | None
    info: float | None


@dataclass(frozen=True, slots=True)
class RewardedText:
    prompt: int
    sample: int
    text: str
    reward: float


@dataclass(frozen=True, slots=True)
class HeldoutAnswer:
    checkpoint: int
    text: str
    reward: float | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class InfoGroup:
    """Mean informativeness and reward of the prompts of one group in one iteration's batch."""

    iteration: int
    group: int
    prompts: int
    info: float | None
    buffer: int


_TRAINING_ENDS = text("""
    SELECT number, max(step), avg((values->>'loss')::float8), avg((values->>'rewards/margins')::float8)
    FROM checkpoints JOIN LATERAL (
        SELECT step, values FROM training_steps
        WHERE run_id = checkpoints.run_id AND checkpoint = number AND jsonb_exists(values, 'loss')
        ORDER BY step DESC LIMIT :last
    ) AS ends ON true
    WHERE run_id = :run_id GROUP BY number ORDER BY number
""")

_HELDOUT_SCORES = text("""
    SELECT checkpoint, split, mode, count(*), count(reward), count(*) FILTER (WHERE reward >= :success),
        avg(reward), stddev_samp(reward), coalesce(bool_and(reward IN (0, 1)), true)
    FROM heldout_responses WHERE run_id = :run_id AND checkpoint = coalesce(:checkpoint, checkpoint)
    GROUP BY checkpoint, split, mode ORDER BY checkpoint, split, mode
""")

# the seed whose accepted descendants reached the most iterations; among those the most informative family
_TELLING_ROOT = text("""
    SELECT p.root
    FROM batches b JOIN prompts p ON p.run_id = b.run_id AND p.number = b.prompt
    WHERE b.run_id = :run_id AND p.depth > 0
    GROUP BY p.root
    ORDER BY count(DISTINCT p.born) DESC, avg(b.info) DESC NULLS LAST, p.root
    LIMIT 1
""")

_MEMBERS = text("""
    SELECT p.number, p.parent, p.operator, p.depth, p.born, p.text, j.iteration, j.checkpoint, j.info
    FROM prompts p
    LEFT JOIN LATERAL (
        SELECT iteration, checkpoint, info FROM batches WHERE run_id = p.run_id AND prompt = p.number AND first
        UNION ALL
        SELECT iteration, checkpoint, info FROM estimates WHERE run_id = p.run_id AND prompt = p.number AND first
    ) AS j ON true
    WHERE p.run_id = :run_id AND p.root = :root
    ORDER BY p.number LIMIT :limit
""")

_INFOS = text("""
    SELECT prompt, info FROM batches
    WHERE run_id = :run_id AND prompt = ANY(CAST(:numbers AS int[])) AND first
    UNION ALL
    SELECT prompt, info FROM estimates
    WHERE run_id = :run_id AND prompt = ANY(CAST(:numbers AS int[])) AND first
""")

_REWARDED_TEXTS = text("""
    SELECT r.prompt, r.sample, r.text, w.value
    FROM unnest(CAST(:prompts AS int[]), CAST(:checkpoints AS int[])) AS asked (prompt, checkpoint)
    JOIN responses r ON r.run_id = :run_id AND r.prompt = asked.prompt AND r.checkpoint = asked.checkpoint
    JOIN rewards w ON w.run_id = r.run_id AND w.prompt = r.prompt AND w.checkpoint = r.checkpoint
        AND w.sample = r.sample AND w.rewarder = :rewarder AND w.value IS NOT NULL
    ORDER BY r.prompt, r.sample
""")

# answered wrongly by the first checkpoint and rightly by the last if there is such an item, else most gained
_TELLING_ITEM = text("""
    SELECT a.item
    FROM heldout_responses a
    JOIN heldout_responses b ON b.run_id = a.run_id AND b.split = a.split AND b.mode = a.mode
        AND b.item = a.item AND b.sample = a.sample AND b.checkpoint = :last
    WHERE a.run_id = :run_id AND a.split = :split AND a.mode = 'greedy' AND a.sample = 0
        AND a.checkpoint = :first
    ORDER BY coalesce(a.reward < :success AND b.reward >= :success, false) DESC,
        coalesce(b.reward - a.reward, 0) DESC, a.item
    LIMIT 1
""")

_ANSWERS = text("""
    SELECT r.checkpoint, r.text, r.reward, r.reason
    FROM heldout_responses r
    WHERE r.run_id = :run_id AND r.split = :split AND r.mode = 'greedy' AND r.sample = 0 AND r.item = :item
    ORDER BY r.checkpoint
""")

_INFO_BY_OCCURRENCES = text("""
    SELECT b.iteration, (length(p.text) - length(replace(p.text, :phrase, ''))) / length(:phrase) AS found,
        count(*), avg(b.info), count(*) FILTER (WHERE b.buffer)
    FROM batches b JOIN prompts p ON p.run_id = b.run_id AND p.number = b.prompt
    WHERE b.run_id = :run_id
    GROUP BY b.iteration, found ORDER BY b.iteration, found
""")

_BATCHES = text("""
    SELECT iteration, count(*) FILTER (WHERE NOT buffer), count(*) FILTER (WHERE buffer)
    FROM batches WHERE run_id = :run_id GROUP BY iteration ORDER BY iteration
""")

_SAME_CONFIG = text("""
    SELECT id FROM runs WHERE config_hash = :config_hash ORDER BY id DESC LIMIT 1
""")


def training_ends(conn: Connection, run_id: int) -> dict[int, TrainingEnd]:
    """How did each checkpoint's training end? By checkpoint; those without logged steps are left out."""
    rows = conn.execute(_TRAINING_ENDS, {"run_id": run_id, "last": LAST_STEPS})
    return {int(row[0]): TrainingEnd(*row) for row in rows}


def heldout_scores(conn: Connection, run_id: int, success: float, checkpoint: int | None = None) -> list[HeldoutScore]:
    """How well does each checkpoint (or one) answer each split? Responses without a reward count as not correct."""
    rows = conn.execute(_HELDOUT_SCORES, {"run_id": run_id, "success": success, "checkpoint": checkpoint})
    return [HeldoutScore(*row) for row in rows]


def telling_root(conn: Connection, run_id: int) -> int | None:
    """Which seed prompt's family shows best how prompts evolve? None when nothing has evolved yet."""
    return conn.execute(_TELLING_ROOT, {"run_id": run_id}).scalar()


def family_members(conn: Connection, run_id: int, root: int, limit: int = 2000) -> list[Member]:
    """Which prompts grew from this seed prompt, itself included? In number order."""
    return [Member(*row) for row in conn.execute(_MEMBERS, {"run_id": run_id, "root": root, "limit": limit})]


def read_infos(conn: Connection, run_id: int, numbers: Sequence[int]) -> dict[int, float | None]:
    """How informative were these prompts when they were first judged? Those never judged are left out."""
    rows = conn.execute(_INFOS, {"run_id": run_id, "numbers": list(numbers)})
    return {int(number): info for number, info in rows}


def rewarded_texts(
    conn: Connection, run_id: int, rewarder: str, asked: Sequence[tuple[int, int]]
) -> list[RewardedText]:
    """What was answered to these (prompt, checkpoint), and how did this rewarder reward it? By prompt and sample."""
    rows = conn.execute(
        _REWARDED_TEXTS,
        {
            "run_id": run_id,
            "rewarder": rewarder,
            "prompts": [prompt for prompt, _ in asked],
            "checkpoints": [checkpoint for _, checkpoint in asked],
        },
    )
    return [RewardedText(*row) for row in rows]


def telling_item(conn: Connection, run_id: int, split: str, first: int, last: int, success: float) -> int | None:
    """Which held-out prompt shows best what `last` learned since `first`? None when both answered none."""
    return conn.execute(
        _TELLING_ITEM, {"run_id": run_id, "split": split, "first": first, "last": last, "success": success}
    ).scalar()


def heldout_answers(conn: Connection, run_id: int, split: str, item: int) -> list[HeldoutAnswer]:
    """What did each checkpoint answer greedily to this held-out prompt?"""
    rows = conn.execute(_ANSWERS, {"run_id": run_id, "split": split, "item": item})
    return [HeldoutAnswer(*row) for row in rows]


def info_by_occurrences(conn: Connection, run_id: int, phrase: str) -> list[InfoGroup]:
    """How informative were the batches' prompts, grouped by how often `phrase` occurs in them?"""
    return [InfoGroup(*row) for row in conn.execute(_INFO_BY_OCCURRENCES, {"run_id": run_id, "phrase": phrase})]


def batch_sizes(conn: Connection, run_id: int) -> dict[int, tuple[int, int]]:
    """How many prompts of each iteration's batch are children, how many are from the buffer?"""
    return {int(row[0]): (int(row[1]), int(row[2])) for row in conn.execute(_BATCHES, {"run_id": run_id})}


def newest_with_config(conn: Connection, config_hash: str) -> RunRow | None:
    """The newest run of exactly this config, None when there is none."""
    found = conn.execute(_SAME_CONFIG, {"config_hash": config_hash}).scalar()
    return None if found is None else get_run(conn, found)


def server_version(conn: Connection) -> str:
    """Which PostgreSQL is this?"""
    return str(conn.execute(text("SHOW server_version")).scalar_one())
