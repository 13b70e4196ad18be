"""Queries that put two runs beside each other: what each cost and reached, and where they answered the same prompts."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Paired:
    """How the second run differs from the first over prompts that both answered with a checkpoint of this number.

    `prompts` is `seeds` or a held-out split, `mode` how they were asked; `rewarder` is None on held-out prompts.
    `difference` is the mean over `count` prompts of (second - first), each the mean reward of its responses;
    `deviation` its sample standard deviation over prompts, None for fewer than two.
    """

    checkpoint: int
    prompts: str
    mode: str
    rewarder: str | None
    count: int
    first: float
    second: float
    difference: float
    deviation: float | None
    better: int
    worse: int


_FIGURES = """count(*), avg(a.reward), avg(b.reward), avg(b.reward - a.reward), stddev_samp(b.reward - a.reward),
        count(*) FILTER (WHERE b.reward > a.reward), count(*) FILTER (WHERE b.reward < a.reward)"""

_SEEDS = """
    SELECT p.text_key, p.text, p.context, w.checkpoint, w.rewarder, avg(w.value) AS reward
    FROM prompts p JOIN rewards w ON w.run_id = p.run_id AND w.prompt = p.number
    WHERE p.run_id = {run} AND p.born = -1 AND w.value IS NOT NULL AND w.rewarder NOT LIKE '%/cost_usd'
    GROUP BY p.number, p.text_key, p.text, p.context, w.checkpoint, w.rewarder
"""

_OVER_SEEDS = text(f"""
    WITH a AS ({_SEEDS.format(run=":first")}), b AS ({_SEEDS.format(run=":second")})
    SELECT a.checkpoint, 'seeds', 'sampled', a.rewarder, {_FIGURES}
    FROM a JOIN b USING (text_key, text, checkpoint, rewarder)
    WHERE a.context IS NOT DISTINCT FROM b.context
    GROUP BY a.checkpoint, a.rewarder ORDER BY a.checkpoint, a.rewarder
""")  # noqa: S608 - the parts are constants of this file

_HELDOUT = """
    SELECT r.checkpoint, r.split, r.mode, h.text, h.context, avg(r.reward) AS reward
    FROM heldout_responses r JOIN heldout_prompts h USING (run_id, split, item)
    WHERE r.run_id = {run} AND r.reward IS NOT NULL
    GROUP BY r.checkpoint, r.split, r.mode, r.item, h.text, h.context
"""

_OVER_HELDOUT = text(f"""
    WITH a AS ({_HELDOUT.format(run=":first")}), b AS ({_HELDOUT.format(run=":second")})
    SELECT a.checkpoint, a.split, a.mode, NULL, {_FIGURES}
    FROM a JOIN b USING (checkpoint, split, mode, text)
    WHERE a.context IS NOT DISTINCT FROM b.context
    GROUP BY a.checkpoint, a.split, a.mode ORDER BY a.checkpoint, a.split, a.mode
""")  # noqa: S608 - the parts are constants of this file

_SECONDS = text("""
    SELECT iteration, sum(seconds) FROM stages WHERE run_id = :run_id GROUP BY iteration ORDER BY iteration
""")


def paired_over_seeds(conn: Connection, first: int, second: int) -> list[Paired]:
    """Where both runs answered the same seed prompt with checkpoints of the same number: who answered better?

    Only rewards of a rewarder of the same name are compared. By checkpoint.
    """
    return [Paired(*row) for row in conn.execute(_OVER_SEEDS, {"first": first, "second": second})]


def paired_over_heldout(conn: Connection, first: int, second: int) -> list[Paired]:
    """The same over held-out prompts of the same split, asked in the same mode."""
    return [Paired(*row) for row in conn.execute(_OVER_HELDOUT, {"first": first, "second": second})]


def seconds_of(conn: Connection, run_id: int) -> dict[int, float]:
    """How long did the stages of each iteration take together?"""
    return {int(iteration): float(seconds) for iteration, seconds in conn.execute(_SECONDS, {"run_id": run_id})}
