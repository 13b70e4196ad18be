"""Queries that say how many responses of a stage can be used, and why the others cannot."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from eva.measures.usability import Fault, Usability
from store.postgres.values import clean_text

_COUNTS = text("""
    SELECT count(*), count(w.value), count(w.value) FILTER (WHERE r.finish <> 'length'),
        count(*) FILTER (WHERE r.finish = 'length')
    FROM responses r
    LEFT JOIN rewards w ON w.run_id = r.run_id AND w.prompt = r.prompt AND w.checkpoint = r.checkpoint
        AND w.sample = r.sample AND w.rewarder = :rewarder
    WHERE r.run_id = :run_id AND r.checkpoint = :checkpoint AND r.prompt = ANY(:numbers)
""")

_VARYING = r"""("[^"]*("|$)|(?<!\w)'[^']*('|$)|[0-9]+)"""
"""What differs between reasons of one kind: the texts that they quote, and numbers."""

_UNREWARDED = text("""
    SELECT count(*), (array_agg(w.reason ORDER BY w.prompt, w.sample))[1],
        (array_agg(w.prompt ORDER BY w.prompt, w.sample))[1],
        (array_agg(left(r.text, 200) ORDER BY w.prompt, w.sample))[1]
    FROM rewards w JOIN responses r USING (run_id, prompt, checkpoint, sample)
    WHERE w.run_id = :run_id AND w.checkpoint = :checkpoint AND w.rewarder = :rewarder AND w.prompt = ANY(:numbers)
        AND w.value IS NULL
    GROUP BY regexp_replace(w.reason, :varying, '', 'g') ORDER BY count(*) DESC, min(w.reason) LIMIT 1
""")

_UNANSWERED = text("""
    SELECT count(*), (array_agg(reason ORDER BY prompt))[1], min(prompt) FROM quarantines
    WHERE run_id = :run_id AND checkpoint = :checkpoint AND prompt = ANY(:numbers)
    GROUP BY regexp_replace(reason, :varying, '', 'g') ORDER BY count(*) DESC, min(reason) LIMIT 1
""")

_UNSCORED = text("""
    SELECT count(*), (array_agg(reason ORDER BY item, sample))[1], min(item), min(left(text, 200))
    FROM heldout_responses
    WHERE run_id = :run_id AND checkpoint = :checkpoint AND reward IS NULL
    GROUP BY regexp_replace(reason, :varying, '', 'g') ORDER BY count(*) DESC, min(reason) LIMIT 1
""")

_SCORES = text("""
    SELECT count(*), count(reward) FROM heldout_responses WHERE run_id = :run_id AND checkpoint = :checkpoint
""")


def read_usability(
    conn: Connection, run_id: int, checkpoint: int, rewarder: str, numbers: Sequence[int], *, keep_cut: bool
) -> Usability:
    """Returns how usable a policy's responses to these prompts are; `keep_cut` counts those at the token limit."""
    values = {
        "run_id": run_id,
        "checkpoint": checkpoint,
        "rewarder": clean_text(rewarder),
        "numbers": [*numbers],
        "varying": _VARYING,
    }
    responses, rewarded, whole, cut = conn.execute(_COUNTS, values).one()
    unrewarded, unanswered = (conn.execute(query, values).one_or_none() for query in (_UNREWARDED, _UNANSWERED))
    return Usability(
        responses,
        rewarded if keep_cut else whole,
        cut,
        None if unrewarded is None else Fault(*unrewarded),
        None if unanswered is None else Fault(*unanswered),
    )


def read_evaluated(conn: Connection, run_id: int, checkpoint: int) -> Usability:
    """Returns how usable a policy's responses to held-out prompts are."""
    values = {"run_id": run_id, "checkpoint": checkpoint, "varying": _VARYING}
    responses, rewarded = conn.execute(_SCORES, values).one()
    unrewarded = conn.execute(_UNSCORED, values).one_or_none()
    return Usability(responses, rewarded, 0, None if unrewarded is None else Fault(*unrewarded), None)
