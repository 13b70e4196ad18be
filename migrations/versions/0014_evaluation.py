"""Renames the role `examiner` to `evaluator`, and the stage `baseline` to `evaluate_initial`."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

_TABLES = ("heldout_parts", "heldout_comparisons")
_STAGES = (("stages", "name"), ("events", "stage"), ("stage_totals", "stage"))


def upgrade() -> None:
    _rename_role("examiner", "evaluator")
    _rename_stage("baseline", "evaluate_initial")


def downgrade() -> None:
    _rename_stage("evaluate_initial", "baseline")
    _rename_role("evaluator", "examiner")


def _rename_role(old: str, new: str) -> None:
    for table in _TABLES:
        constraint = op.f(f"{table}_role_check")
        op.drop_constraint(constraint, table)
        _rename(table, "role", old, new)
        op.create_check_constraint(constraint, table, f"role IN ('{new}', 'auditor')")


def _rename_stage(old: str, new: str) -> None:
    for table, column in _STAGES:
        _rename(table, column, old, new)


def _rename(table: str, column: str, old: str, new: str) -> None:
    rows = sa.table(table, sa.column(column))
    op.execute(rows.update().where(rows.c[column] == old).values({column: new}))
