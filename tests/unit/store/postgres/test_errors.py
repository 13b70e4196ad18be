"""Errors of the database are translated into eva's."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from eva.errors import DiskFullError, StoreAwayError, StoreError, ValueRefusedError
from store.postgres.errors import ErrorTranslator

REMOTE = ErrorTranslator("postgresql://me@db/eva", None)


@pytest.mark.parametrize(
    "state",
    [
        "08006",
        "40001",
        "40P01",
        "53300",
        "53200",
        "55P03",
        "57P01",
        "57P02",
        "57P03",
        "57014",
        "58030",
        "25006",
        "25P03",
    ],
)
def test_a_temporary_failure_is_one_to_try_again(state: str) -> None:
    assert type(REMOTE.translate(errors.lookup(state)("made on purpose"))) is StoreAwayError


@pytest.mark.parametrize(
    "message",
    [
        "connection refused",
        "FATAL:  the database system is starting up",
        "FATAL:  sorry, too many clients already",
        "could not translate host name",
    ],
)
def test_a_failed_connection_is_one_to_try_again(message: str) -> None:
    assert type(REMOTE.translate(psycopg.OperationalError(message))) is StoreAwayError


@pytest.mark.parametrize(
    "message",
    [
        'password authentication failed for user "me"',
        'database "eva" does not exist',
        'no pg_hba.conf entry for host "h"',
        'role "me" does not exist',
    ],
)
def test_a_refused_login_is_not_one_to_try_again(message: str) -> None:
    error = REMOTE.translate(psycopg.OperationalError(f"FATAL:  {message}"))
    assert type(error) is StoreError and "EVA_DATABASE_URL" in str(error)


def test_a_full_disk_names_the_folder_where_it_is_known() -> None:
    assert isinstance(REMOTE.translate(errors.DiskFull("could not extend file")), DiskFullError)
    error = ErrorTranslator("postgresql:///eva", Path("/data/postgres")).translate(
        errors.DiskFull("could not extend file")
    )
    assert isinstance(error, DiskFullError) and "/data/postgres" in str(error)


@pytest.mark.parametrize("state", ["22003", "22P02", "54000"])
def test_a_value_that_cannot_be_stored_is_refused(state: str) -> None:
    assert isinstance(REMOTE.translate(errors.lookup(state)("out of range")), ValueRefusedError)


@pytest.mark.parametrize("state", ["42601", "42P01", "23505", "25P02"])
def test_a_bug_in_eva_is_not_translated(state: str) -> None:
    assert REMOTE.translate(errors.lookup(state)("a mistake")) is None
