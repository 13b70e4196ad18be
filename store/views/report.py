"""Queries for a run's report: figures per checkpoint, and the best examples of a family and of a held-out prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from eva.types import Player
from store.rows import RunRow
from store.runs.runs import get_run

LAST_STEPS = 4
"""The final loss and margin of a training are means over so many logged steps."""


@dataclass(frozen=True, slots=True)
class TrainingEnd:
    """How a checkpoint's training ended. `loss` and `margin` are means over its last steps, or None."""

    checkpoint: int
    steps: int
    loss: float | None
    margin: float | None


@dataclass(frozen=True, slots=True)
class HeldoutScore:
    """One checkpoint on one split in one mode.

    `deviation` and `reward_deviation` are sample standard deviations over items: of the share of an item's responses
    that are correct, and of an item's mean reward, over the `rewarded_items`.
    """

    checkpoint: int
    split: str
    mode: str
    n: int
    rewarded: int
    correct: int
    reward: float | None
    binary: bool
    items: int
    deviation: float | None
    rewarded_items: int
    reward_deviation: float | None


@dataclass(frozen=True, slots=True)
class HeldoutChange:
    """What changed from the initial model to one checkpoint, over the items that both have answered.

    `samples` is the number of responses per item, `squares` the sum over items of the squared change of their share of
    correct responses. The rewards' change is over the `rewarded` items.
    """

    checkpoint: int
    split: str
    mode: str
    items: int
    samples: float
    accuracy: float
    squares: float
    rewarded: int
    reward: float | None
    reward_deviation: float | None


@dataclass(frozen=True, slots=True)
class MemberRow:
    """A prompt in a family. `info` and `checkpoint` are those of the first time that it was judged, or None."""

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
class ExampleRow:
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
        WHERE run_id = checkpoints.run_id AND player = checkpoints.player AND checkpoint = number
            AND jsonb_exists(values, 'loss')
        ORDER BY step DESC LIMIT :last
    ) AS ends ON true
    WHERE run_id = :run_id AND player = :player GROUP BY number ORDER BY number
""")

_HELDOUT_SCORES = text("""
    WITH items AS (
        SELECT checkpoint, split, mode, item, count(*) AS n, avg(reward) AS reward,
            (count(*) FILTER (WHERE reward >= :success))::float8 / count(*) AS share
        FROM heldout_responses WHERE run_id = :run_id AND checkpoint = coalesce(:checkpoint, checkpoint)
        GROUP BY checkpoint, split, mode, item
    ),
    spread AS (
        SELECT checkpoint, split, mode, count(*) AS items, stddev_samp(share) AS deviation,
            count(reward) AS rewarded_items, stddev_samp(reward) AS reward_deviation
        FROM items GROUP BY checkpoint, split, mode
    )
    SELECT r.checkpoint, r.split, r.mode, count(*), count(r.reward), count(*) FILTER (WHERE r.reward >= :success),
        avg(r.reward), coalesce(bool_and(r.reward IN (0, 1)), true),
        min(s.items), min(s.deviation), min(s.rewarded_items), min(s.reward_deviation)
    FROM heldout_responses r JOIN spread s USING (checkpoint, split, mode)
    WHERE r.run_id = :run_id
    GROUP BY r.checkpoint, r.split, r.mode ORDER BY r.checkpoint, r.split, r.mode
""")

_HELDOUT_CHANGES = text("""
    WITH items AS (
        SELECT checkpoint, split, mode, item, count(*) AS n, avg(reward) AS reward,
            (count(*) FILTER (WHERE reward >= :success))::float8 / count(*) AS share
        FROM heldout_responses WHERE run_id = :run_id AND checkpoint IN (0, coalesce(:checkpoint, checkpoint))
        GROUP BY checkpoint, split, mode, item
    )
    SELECT b.checkpoint, b.split, b.mode, count(*), avg(b.n)::float8, avg(b.share - a.share),
        sum((b.share - a.share) ^ 2),
        count(b.reward - a.reward), avg(b.reward - a.reward), stddev_samp(b.reward - a.reward)
    FROM items a JOIN items b USING (split, mode, item)
    WHERE a.checkpoint = 0 AND b.checkpoint > 0
    GROUP BY b.checkpoint, b.split, b.mode ORDER BY b.checkpoint, b.split, b.mode
""")

# the seed prompt whose descendants were born in the most iterations; among equals the most informative family
_MOST_EVOLVED = text("""
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

# an item that the first checkpoint got wrong and the last got right, if there is one; else the largest gain
_MOST_IMPROVED = text("""
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

_RESPONSES_TO_ITEM = text("""
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


def training_ends(conn: Connection, run_id: int, player: Player = "solver") -> dict[int, TrainingEnd]:
    """Returns how the training of each of a player's checkpoints ended, by number, of those that logged steps."""
    rows = conn.execute(_TRAINING_ENDS, {"run_id": run_id, "player": player, "last": LAST_STEPS})
    return {int(row[0]): TrainingEnd(*row) for row in rows}


def heldout_changes(
    conn: Connection, run_id: int, success: float, checkpoint: int | None = None
) -> list[HeldoutChange]:
    """Returns how each checkpoint, or this one, differs from the initial model, item by item."""
    parameters = {"run_id": run_id, "success": success, "checkpoint": checkpoint}
    rows = conn.execute(_HELDOUT_CHANGES, parameters)
    return [HeldoutChange(*row) for row in rows]


def heldout_scores(conn: Connection, run_id: int, success: float, checkpoint: int | None = None) -> list[HeldoutScore]:
    """Returns the scores of each checkpoint (or one) on each split. Responses without a reward are not correct."""
    rows = conn.execute(_HELDOUT_SCORES, {"run_id": run_id, "success": success, "checkpoint": checkpoint})
    return [HeldoutScore(*row) for row in rows]


def most_evolved_root(conn: Connection, run_id: int) -> int | None:
    """Returns the seed prompt whose family evolved over the most iterations, or None when nothing has evolved yet."""
    return conn.execute(_MOST_EVOLVED, {"run_id": run_id}).scalar()


def family_members(conn: Connection, run_id: int, root: int, limit: int = 2000) -> list[MemberRow]:
    """Returns a seed prompt and its descendants, in number order."""
    return [MemberRow(*row) for row in conn.execute(_MEMBERS, {"run_id": run_id, "root": root, "limit": limit})]


def read_infos(conn: Connection, run_id: int, numbers: Sequence[int]) -> dict[int, float | None]:
    """Returns these prompts' info when they were first judged. Those never judged are left out."""
    rows = conn.execute(_INFOS, {"run_id": run_id, "numbers": list(numbers)})
    return {int(number): info for number, info in rows}


def rewarded_texts(
    conn: Connection, run_id: int, rewarder: str, prompts_and_checkpoints: Sequence[tuple[int, int]]
) -> list[RewardedText]:
    """Returns the responses to these (prompt, checkpoint) and this rewarder's rewards, by prompt and sample."""
    rows = conn.execute(
        _REWARDED_TEXTS,
        {
            "run_id": run_id,
            "rewarder": rewarder,
            "prompts": [prompt for prompt, _ in prompts_and_checkpoints],
            "checkpoints": [checkpoint for _, checkpoint in prompts_and_checkpoints],
        },
    )
    return [RewardedText(*row) for row in rows]


def most_improved_item(conn: Connection, run_id: int, split: str, first: int, last: int, success: float) -> int | None:
    """Returns the held-out prompt on which checkpoint `last` improved most over `first`, or None without responses."""
    return conn.execute(
        _MOST_IMPROVED, {"run_id": run_id, "split": split, "first": first, "last": last, "success": success}
    ).scalar()


def heldout_examples(conn: Connection, run_id: int, split: str, item: int) -> list[ExampleRow]:
    """Returns each checkpoint's greedy response to a held-out prompt."""
    rows = conn.execute(_RESPONSES_TO_ITEM, {"run_id": run_id, "split": split, "item": item})
    return [ExampleRow(*row) for row in rows]


def info_by_occurrences(conn: Connection, run_id: int, phrase: str) -> list[InfoGroup]:
    """Returns the mean info of each batch's prompts, grouped by how often `phrase` occurs in them."""
    return [InfoGroup(*row) for row in conn.execute(_INFO_BY_OCCURRENCES, {"run_id": run_id, "phrase": phrase})]


def batch_sizes(conn: Connection, run_id: int) -> dict[int, tuple[int, int]]:
    """Returns by iteration how many prompts of its batch are children, and how many are from the buffer."""
    return {int(row[0]): (int(row[1]), int(row[2])) for row in conn.execute(_BATCHES, {"run_id": run_id})}


def newest_with_config(conn: Connection, config_hash: str) -> RunRow | None:
    """Returns the newest run with exactly this config, or None."""
    run_id = conn.execute(_SAME_CONFIG, {"config_hash": config_hash}).scalar()
    return None if run_id is None else get_run(conn, run_id)


def server_version(conn: Connection) -> str:
    """Returns the version of the PostgreSQL server."""
    return str(conn.execute(text("SHOW server_version")).scalar_one())
