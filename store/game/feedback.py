"""The query for feedback: the policy's best and worst responses to the sampled prompts."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, text

from eva.types import Feedback

_FEEDBACK = text("""
    WITH ranked AS (
        SELECT e.prompt, w.sample, w.checkpoint, w.value,
               row_number() OVER (PARTITION BY e.prompt ORDER BY w.value DESC, w.sample) AS from_best,
               row_number() OVER (PARTITION BY e.prompt ORDER BY w.value, w.sample) AS from_worst
        FROM unnest(CAST(:prompts AS int[]), CAST(:checkpoints AS int[])) AS e(prompt, checkpoint)
        JOIN rewards w ON w.run_id = :run_id AND w.prompt = e.prompt AND w.checkpoint = e.checkpoint
        JOIN responses r ON r.run_id = w.run_id AND r.prompt = w.prompt AND r.checkpoint = w.checkpoint
            AND r.sample = w.sample
        WHERE w.rewarder = :rewarder AND w.value IS NOT NULL AND (:keep_cut OR r.finish <> 'length')
    )
    SELECT p.number, p.text, best_r.text, best.value, worst_r.text, worst.value
    FROM ranked best
    JOIN ranked worst ON worst.prompt = best.prompt AND worst.from_worst = 1 AND worst.value < best.value
    JOIN prompts p ON p.run_id = :run_id AND p.number = best.prompt
    JOIN responses best_r ON best_r.run_id = :run_id AND best_r.prompt = best.prompt
        AND best_r.checkpoint = best.checkpoint AND best_r.sample = best.sample
    JOIN responses worst_r ON worst_r.run_id = :run_id AND worst_r.prompt = worst.prompt
        AND worst_r.checkpoint = worst.checkpoint AND worst_r.sample = worst.sample
    WHERE best.from_best = 1
""")


def read_feedback(
    conn: Connection, run_id: int, policies: Mapping[int, int], rewarder: str, *, keep_cut: bool
) -> dict[int, Feedback]:
    """Returns the best and the worst response to each prompt, from the checkpoint that `policies` gives it.

    Leaves out prompts without two different rewards, and responses that were cut off, unless `keep_cut`.
    """
    values = {
        "run_id": run_id,
        "prompts": [*policies],
        "checkpoints": [*policies.values()],
        "rewarder": rewarder,
        "keep_cut": keep_cut,
    }
    return {row[0]: Feedback(*row[1:]) for row in conn.execute(_FEEDBACK, values)}
