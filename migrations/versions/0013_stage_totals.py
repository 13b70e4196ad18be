"""Adds totals over closed stages, and indexes that find open stages and rare events without reading the rest."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_COUNTED = (
    "responses",
    "tokens",
    "cost_usd",
    "quarantined",
    "accepted",
    "engine_ms",
    "engine_busy_ms",
    "engine_filled_ms",
)
_NAMES = ("closed", "seconds", "retries", "done", *_COUNTED)

_KNOWN = f"""
    INSERT INTO stage_totals (stage, {", ".join(_NAMES)})
    SELECT stages.name, count(*), sum(stages.seconds), sum(stages.attempts - 1), sum(stages.done),
        {", ".join(f"coalesce(sum(CAST(stages.counts ->> '{name}' AS double precision)), 0)" for name in _COUNTED)}
    FROM stages JOIN runs ON runs.id = stages.run_id
    WHERE stages.status = 'done' AND (runs.forked_at IS NULL OR stages.iteration >= runs.forked_at)
    GROUP BY stages.name
"""  # noqa: S608 - names of this file

_QUARANTINED = """
    INSERT INTO stage_totals (stage, quarantined) SELECT 'judge_batch', count(*) FROM quarantines
    HAVING count(*) > 0
    ON CONFLICT (stage) DO UPDATE SET quarantined = stage_totals.quarantined + excluded.quarantined
"""


def upgrade() -> None:
    op.create_table(
        "stage_totals",
        sa.Column("stage", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Double, nullable=False, server_default=sa.text("0")) for name in _NAMES),
    )
    op.execute(_KNOWN)
    op.execute(_QUARANTINED)
    op.create_index("stages_open_idx", "stages", ["run_id"], postgresql_where=sa.text("status <> 'done'"))
    op.create_index(op.f("events_kind_idx"), "events", ["kind"])
    op.create_index(op.f("runs_status_idx"), "runs", ["status"])


def downgrade() -> None:
    op.drop_index(op.f("runs_status_idx"), "runs")
    op.drop_index(op.f("events_kind_idx"), "events")
    op.drop_index("stages_open_idx", "stages")
    op.drop_table("stage_totals")
