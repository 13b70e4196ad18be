"""Numbers the writes of a lease's holder, so that a write whose reply was lost is not made twice."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("leases", sa.Column("writes", sa.BigInteger, server_default=sa.text("0"), nullable=False))


def downgrade() -> None:
    op.drop_column("leases", "writes")
