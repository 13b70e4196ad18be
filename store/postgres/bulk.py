"""Bulk reads and writes: COPY into a table, optionally idempotent, and COPY out into arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import errors, sql
from sqlalchemy import Connection, Table

Row = tuple[Any, ...]


def driver(conn: Connection) -> psycopg.Connection[Row]:
    """Returns the psycopg connection underneath, inside the same transaction."""
    return cast("psycopg.Connection[Row]", conn.connection.driver_connection)


def copy_rows(conn: Connection, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Writes rows with COPY. A row that exists already is an error."""
    if rows:
        with driver(conn).cursor() as cursor:
            _copy(cursor, sql.Identifier(table.name), columns, rows)


def copy_once(conn: Connection, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Writes rows with COPY. Rows that exist already stay as they are.

    A batch is written again only when the reply to its commit was lost. That is rare, so a plain COPY comes first;
    if it meets an existing row, the rows go through a temporary table.
    """
    if not rows:
        return
    try:
        with driver(conn).transaction(), driver(conn).cursor() as cursor:
            _copy(cursor, sql.Identifier(table.name), columns, rows)
    except errors.UniqueViolation:
        _copy_missing(conn, table, columns, rows)


def _copy_missing(conn: Connection, table: Table, columns: Sequence[str], rows: Sequence[Row]) -> None:
    staged, target = sql.Identifier(f"staged_{table.name}"), sql.Identifier(table.name)
    names = _names(columns)
    with driver(conn).cursor() as cursor:
        cursor.execute(
            sql.SQL("CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA").format(
                staged, names, target
            )
        )
        _copy(cursor, staged, columns, rows)
        cursor.execute(
            sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} ON CONFLICT DO NOTHING").format(target, names, names, staged)
        )
        cursor.execute(sql.SQL("DROP TABLE {}").format(staged))


def _copy(cursor: psycopg.Cursor[Row], table: sql.Identifier, columns: Sequence[str], rows: Sequence[Row]) -> None:
    with cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN").format(table, _names(columns))) as copy:
        for row in rows:
            copy.write_row(row)


def _names(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join([sql.Identifier(column) for column in columns])


def read_array(
    conn: Connection, query: str, values: Sequence[Any], fields: Sequence[tuple[str, str]]
) -> npt.NDArray[Any]:
    """Reads a query's rows into one structured array of shape (rows,), with binary COPY.

    Args:
        query: a SELECT with %s placeholders. No column may be null or of variable width.
        fields: name and big-endian numpy type of each column, such as ("prompt", ">i4").
    """
    layout: list[tuple[str, str]] = [("columns", ">i2")]
    for name, kind in fields:
        layout += [(f"{name}_width", ">i4"), (name, kind)]
    dtype = np.dtype(layout)
    with driver(conn).cursor() as cursor:
        statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(sql.SQL(query))  # pyright: ignore[reportArgumentType] - queries are literals of this package
        with cursor.copy(statement, values) as copy:
            data = b"".join(bytes(block) for block in copy)
    # 11 bytes of signature, 4 of flags, 4 of extension length; 2 of trailer
    return np.frombuffer(data, dtype=dtype, offset=19, count=(len(data) - 21) // dtype.itemsize)
