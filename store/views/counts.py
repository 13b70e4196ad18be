"""How many rows of each kind a run has."""

from __future__ import annotations

from sqlalchemy import Connection, text

_COUNTS = text("""
    SELECT
        (SELECT count(*) FROM prompts WHERE run_id = :run_id AND born = -1) AS seeds,
        (SELECT prompt_count FROM runs WHERE id = :run_id) AS prompts,
        (SELECT count(*) FROM pairs WHERE run_id = :run_id) AS pairs,
        (SELECT count(*) FROM responses WHERE run_id = :run_id) AS responses,
        (SELECT count(*) FROM estimates WHERE run_id = :run_id)
            + (SELECT count(*) FROM batches WHERE run_id = :run_id) AS judged
""")


def count_rows(conn: Connection, run_id: int) -> dict[str, int]:
    """How many seed prompts, prompts, pairs, responses, and judged prompts of pools and batches?"""
    return {name: int(count) for name, count in conn.execute(_COUNTS, {"run_id": run_id}).mappings().one().items()}
