"""Translates the database's errors into eva's. Only this module decides what an error means.

Temporary (the server is away, restarting or full, or two transactions collided): the same transaction may succeed
later. Refused (access, version): a person has to act. A value that cannot be stored: retrying does not help. Anything
else is a bug in eva and stays the exception that it is.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import psycopg

from eva.errors import DiskFullError, EvaError, StoreAwayError, StoreError, ValueRefusedError

_FULL = "53100"
_TEMPORARY = ("08", "40", "53", "57", "58", "55P03", "25006", "25P03", "25P04")
"""SQLSTATE classes and codes: connection lost, serialization failure or deadlock, no resources or too many
connections, shutdown or cancellation by an administrator, I/O error, lock timeout, a standby after a failover, other
timeouts."""

_REFUSED = ("28", "3D", "42501", "XX")
_VALUE = ("22", "54")

_LOCKED_OUT = re.compile(
    r"authentication failed|no pg_hba\.conf entry|no password supplied|"
    r"(role|database) \".*\" (does not exist|is not permitted)|permission denied for"
)
"""What libpq reports when a server answers but refuses the login: a failed connection has no SQLSTATE."""

_LITTLE_SPACE = 64 * 2**20


@dataclass(frozen=True, slots=True)
class ErrorTranslator:
    """Translates the errors of one database. `url` has no password; `folder` is that of an embedded server."""

    url: str
    folder: Path | None

    def translate(self, error: psycopg.Error) -> EvaError | None:
        """Returns the error to show to the user, or None when it is a bug in eva."""
        state, message = error.sqlstate or "", " ".join(str(error).split()).rstrip(".")
        connection = not state and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        temporary = state.startswith(_TEMPORARY) or (connection and not _LOCKED_OUT.search(message))
        if state == _FULL or "No space left on device" in message or (temporary and self._is_full()):
            return self._disk_full()
        if temporary:
            return StoreAwayError(
                f"the database {self.url} failed: {message}", expected=_EXPECTED, next_move=self._next_move()
            )
        if connection or state.startswith(_REFUSED):
            return StoreError(
                f"the database {self.url} failed: {message}", expected=_EXPECTED, next_move=self._next_move()
            )
        if state.startswith(_VALUE):
            return ValueRefusedError(
                f"the database {self.url} cannot store a value: {message}",
                expected="values that eva has cleaned for storing",
                next_move="Nothing of its batch was stored. Report this with the run's log",
            )
        return None

    def _disk_full(self) -> DiskFullError:
        where = f" in {self.folder}" if self.folder else ""
        return DiskFullError(
            f"the database {self.url} has no space left{where}",
            next_move="Free some space, then continue the run with `eva run --resume`",
        )

    def _next_move(self) -> str:
        if self.folder is None:
            return "Check EVA_DATABASE_URL and the server, then run the command again"
        log = self.folder / "server.log"
        return f"Run the command again to restart the embedded server. Its log is {log}"

    def _is_full(self) -> bool:
        try:
            return self.folder is not None and shutil.disk_usage(self.folder).free < _LITTLE_SPACE
        except OSError:
            return False


_EXPECTED = "a PostgreSQL server >= 15 that answers and accepts this user"
