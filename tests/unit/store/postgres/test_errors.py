from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from eva.errors import DiskFullError, StoreAwayError, StoreError, ValueRefusedError
from store.postgres.errors import Place

REMOTE = Place("postgresql://me@db/eva", None)


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
def test_what_passes_is_told_as_something_to_try_again(state: str) -> None:
    assert type(REMOTE.explained(errors.lookup(state)("made on purpose"))) is StoreAwayError


@pytest.mark.parametrize(
    "said",
    [
        "connection refused",
        "FATAL:  the database system is starting up",
        "FATAL:  sorry, too many clients already",
        "could not translate host name",
    ],
)
def test_a_connection_that_does_not_come_about_is_tried_again(said: str) -> None:
    assert type(REMOTE.explained(psycopg.OperationalError(said))) is StoreAwayError


@pytest.mark.parametrize(
    "said",
    [
        'password authentication failed for user "me"',
        'database "eva" does not exist',
        'no pg_hba.conf entry for host "h"',
        'role "me" does not exist',
    ],
)
def test_whoever_is_locked_out_need_not_try_again(said: str) -> None:
    found = REMOTE.explained(psycopg.OperationalError(f"FATAL:  {said}"))
    assert type(found) is StoreError and "EVA_DATABASE_URL" in str(found)


def test_a_full_disk_names_the_folder_where_it_is_known() -> None:
    assert isinstance(REMOTE.explained(errors.DiskFull("could not extend file")), DiskFullError)
    found = Place("postgresql:///eva", Path("/data/postgres")).explained(errors.DiskFull("could not extend file"))
    assert isinstance(found, DiskFullError) and "/data/postgres" in str(found)


@pytest.mark.parametrize("state", ["22003", "22P02", "54000"])
def test_a_value_that_cannot_be_stored_is_no_failure_of_the_server(state: str) -> None:
    assert isinstance(REMOTE.explained(errors.lookup(state)("out of range")), ValueRefusedError)


@pytest.mark.parametrize("state", ["42601", "42P01", "23505", "25P02"])
def test_mistakes_of_ours_stay_what_they_are(state: str) -> None:
    assert REMOTE.explained(errors.lookup(state)("a mistake")) is None
