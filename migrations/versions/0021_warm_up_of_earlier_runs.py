"""Says of the runs of earlier versions that their warm-up began with a step at learning rate 0, as it still does."""

from __future__ import annotations

from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.execute(
        """UPDATE runs SET config = jsonb_set(config, '{training,warmup_from}', '"zero"')
        WHERE jsonb_typeof(config -> 'training') = 'object' AND NOT (config -> 'training') ? 'warmup_from'"""
    )


def downgrade() -> None:
    op.execute("UPDATE runs SET config = config #- '{training,warmup_from}'")
