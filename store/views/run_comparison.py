"""Queries that compare two runs: on the prompts that both have, in the time that they took, and what they share."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Paired:
    """How the second run differs from the first on prompts that both responded to with a checkpoint of this number.

    `prompts` is `seeds` or a held-out split, and `mode` the way of generating. `rewarder` is None on held-out prompts.
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


MOST_SEEDS = 20_000
"""About how many seed prompts are compared at most. Of more, a part is selected by the hashes of their texts."""

_FIGURES = """count(*), avg(a), avg(b), avg(d), stddev_samp(d), count(*) FILTER (WHERE d > 0),
        count(*) FILTER (WHERE d < 0)"""

# means of the same rewards, added up in another order, differ by rounding
_DIFFERENCE = "CASE WHEN abs(b - a) > 1e-9 * greatest(1, abs(a), abs(b)) THEN b - a ELSE 0 END AS d"

_OVER_SEEDS = text(f"""
    WITH shared AS MATERIALIZED (
        SELECT a.number AS first, b.number AS second
        FROM prompts a JOIN prompts b ON b.text_key = a.text_key AND b.text = a.text
            AND b.context IS NOT DISTINCT FROM a.context
        WHERE a.run_id = :first AND a.born = -1 AND a.text_key <= :last AND b.run_id = :second AND b.born = -1
    ), rewarded AS (
        SELECT s.first AS pair, 1 AS side, w.checkpoint, w.rewarder, w.value
        FROM shared s JOIN rewards w ON w.run_id = :first AND w.prompt = s.first
        UNION ALL
        SELECT s.first, 2, w.checkpoint, w.rewarder, w.value
        FROM shared s JOIN rewards w ON w.run_id = :second AND w.prompt = s.second
    ), means AS (
        SELECT checkpoint, rewarder, avg(value) FILTER (WHERE side = 1) AS a, avg(value) FILTER (WHERE side = 2) AS b
        FROM rewarded WHERE rewarder NOT LIKE '%/cost_usd' GROUP BY pair, checkpoint, rewarder
    )
    SELECT checkpoint, 'seeds', 'sampled', rewarder, {_FIGURES}
    FROM (SELECT *, {_DIFFERENCE} FROM means WHERE a IS NOT NULL AND b IS NOT NULL) AS compared
    GROUP BY checkpoint, rewarder ORDER BY checkpoint, rewarder
""")  # noqa: S608 - the parts are constants of this file

_FEWER_SEEDS = text("""
    SELECT min(seeds) FROM (SELECT run_id, count(*) AS seeds FROM prompts
        WHERE run_id IN (:first, :second) AND born = -1 GROUP BY run_id) AS counted
""")

_LOWEST_KEY = -(2**63)
"""The smallest key. Keys are hashes over all 64-bit numbers, so those up to some number are as good as random."""

_HELDOUT = """
    SELECT r.checkpoint, r.split, r.mode, h.text, h.context, avg(r.reward) AS reward
    FROM heldout_responses r JOIN heldout_prompts h USING (run_id, split, item)
    WHERE r.run_id = {run} AND r.reward IS NOT NULL
    GROUP BY r.checkpoint, r.split, r.mode, r.item, h.text, h.context
"""

_OVER_HELDOUT = text(f"""
    WITH one AS ({_HELDOUT.format(run=":first")}), other AS ({_HELDOUT.format(run=":second")}), means AS (
        SELECT one.checkpoint, one.split, one.mode, one.reward AS a, other.reward AS b
        FROM one JOIN other USING (checkpoint, split, mode, text) WHERE one.context IS NOT DISTINCT FROM other.context
    )
    SELECT checkpoint, split, mode, NULL, {_FIGURES}
    FROM (SELECT *, {_DIFFERENCE} FROM means) AS compared
    GROUP BY checkpoint, split, mode ORDER BY checkpoint, split, mode
""")  # noqa: S608 - the parts are constants of this file

_SECONDS = text("""
    SELECT iteration, sum(seconds) FROM stages WHERE run_id = :run_id GROUP BY iteration ORDER BY iteration
""")


_ANCESTRY = text("""
    WITH RECURSIVE line AS (
        SELECT id, forked_from, forked_at, 32767 AS until FROM runs WHERE id = :run_id
        UNION ALL
        SELECT r.id, r.forked_from, r.forked_at, least(line.until, line.forked_at)
        FROM line JOIN runs r ON r.id = line.forked_from
    )
    SELECT id, until FROM line
""")


def shared_iterations(conn: Connection, first: int, second: int) -> int:
    """Returns how many iterations two runs share, because one of them or both are forks: 0 if they share none."""
    lines = [
        {int(run): int(until) for run, until in conn.execute(_ANCESTRY, {"run_id": run_id})}
        for run_id in (first, second)
    ]
    return max((min(lines[0][run], lines[1][run]) for run in lines[0].keys() & lines[1].keys()), default=0)


def paired_over_seeds(conn: Connection, first: int, second: int, most: int = MOST_SEEDS) -> list[Paired]:
    """Compares the runs on seed prompts that both responded to with checkpoints of the same number, by checkpoint.

    Only rewards of rewarders with the same name are compared. Of more than `most` seed prompts, about `most` are
    selected: always the same ones, and the same ones in both runs.
    """
    if not (seeds := conn.execute(_FEWER_SEEDS, {"first": first, "second": second}).scalar()):
        return []
    last = _LOWEST_KEY + 2**64 * min(most, seeds) // seeds - 1
    return [Paired(*row) for row in conn.execute(_OVER_SEEDS, {"first": first, "second": second, "last": last})]


def paired_over_heldout(conn: Connection, first: int, second: int) -> list[Paired]:
    """Compares the runs on held-out prompts of the same split and mode."""
    return [Paired(*row) for row in conn.execute(_OVER_HELDOUT, {"first": first, "second": second})]


def seconds_of(conn: Connection, run_id: int) -> dict[int, float]:
    """Returns by iteration how many seconds its stages took together."""
    return {int(iteration): float(seconds) for iteration, seconds in conn.execute(_SECONDS, {"run_id": run_id})}
