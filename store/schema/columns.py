"""The parts that tables share: names of constraints, common columns and foreign keys."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.schema import SchemaItem

SCHEMA_REVISION = "0028"
"""The migration that the tables correspond to. A database that is at it already needs no migration."""

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
    }
)

NOW = text("clock_timestamp()")
ZERO = text("0")
EMPTY = text("'{}'::jsonb")
Time = DateTime(timezone=True)


def table(name: str, *items: SchemaItem) -> Table:
    return Table(name, metadata, *items)


def key(name: str, kind: type[BigInteger | Boolean | Integer | SmallInteger | Text]) -> Column[Any]:
    return Column(name, kind, primary_key=True, autoincrement=False, nullable=False)


def player() -> Column[Any]:
    """Whose weights a row is about, `eva.types.Player`: a part of its key."""
    return Column("player", Text, primary_key=True, nullable=False, server_default="solver")


def of_player() -> CheckConstraint:
    return CheckConstraint("player IN ('solver', 'creator')", "player")


def run_id() -> Column[Any]:
    return key("run_id", Integer)


def of_run() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["run_id"], ["runs.id"], ondelete="RESTRICT")


def of_prompt(column: str = "prompt") -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["run_id", column], ["prompts.run_id", "prompts.number"], ondelete="RESTRICT")


def of_response(sample: str = "sample") -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["run_id", "prompt", "checkpoint", sample],
        ["responses.run_id", "responses.prompt", "responses.checkpoint", "responses.sample"],
        ondelete="RESTRICT",
    )
