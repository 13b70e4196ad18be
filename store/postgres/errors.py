"""What an error of the database means, told apart here and nowhere else.

Passing (the server is away, restarts, is full, or two transactions met): the same transaction may succeed in a
while. Refused (access, version): a person has to act. A value that cannot be stored: trying again is no use. All
else is a mistake of ours and stays the exception that it is.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import psycopg

from eva.errors import DiskFullError, EvaError, StoreAwayError, StoreError, ValueRefusedError

_FULL = "53100"
_PASSING = ("08", "40", "53", "57", "58", "55P03", "25006", "25P03", "25P04")
"""SQLSTATE classes and codes: connection lost, serialization failure or deadlock, no resources or too many
connections, shut down or cancelled by an operator, I/O error, lock time-out, a standby after a failover, time-outs."""

_REFUSED = ("28", "3D", "42501", "XX")
_VALUE = ("22", "54")

_LOCKED_OUT = re.compile(
    r"authentication failed|no pg_hba\.conf entry|no password supplied|"
    r"(role|database) \".*\" (does not exist|is not permitted)|permission denied for"
)
"""What libpq says when a server answers and lets nobody in: connecting gives no SQLSTATE."""

_LITTLE_SPACE = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Place:
    """Where the database is, for messages: `shown` is its URL without the password, `folder` the embedded one's."""

    shown: str
    folder: Path | None

    def explained(self, error: psycopg.Error) -> EvaError | None:
        """The error as the reader should meet it; None when it is a mistake of ours."""
        state, said = error.sqlstate or "", " ".join(str(error).split()).rstrip(".")
        connection = not state and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        passing = state.startswith(_PASSING) or (connection and not _LOCKED_OUT.search(said))
        if state == _FULL or "No space left on device" in said or (passing and self._is_full()):
            return self._disk_full()
        if passing:
            return StoreAwayError(
                f"the database {self.shown} failed: {said}", expected=_EXPECTED, next_move=self._next_move()
            )
        if connection or state.startswith(_REFUSED):
            return StoreError(
                f"the database {self.shown} failed: {said}", expected=_EXPECTED, next_move=self._next_move()
            )
        if state.startswith(_VALUE):
            return ValueRefusedError(
                f"the database {self.shown} cannot store a value: {said}",
                expected="values that eva has made storable",
                next_move="Nothing of its batch was stored; report this with the run's log",
            )
        return None

    def _disk_full(self) -> DiskFullError:
        where = f" in {self.folder}" if self.folder else ""
        return DiskFullError(
            f"the database {self.shown} has no space left{where}",
            next_move="Free some space; the run then continues with `eva run --resume`",
        )

    def _next_move(self) -> str:
        if self.folder is None:
            return "Check EVA_DATABASE_URL and the server, then run the command again"
        log = self.folder / "server.log"
        return f"Run the command again: it starts the embedded server anew; its log is {log}"

    def _is_full(self) -> bool:
        try:
            return self.folder is not None and shutil.disk_usage(self.folder).free < _LITTLE_SPACE
        except OSError:
            return False


_EXPECTED = "a PostgreSQL server >= 15 that answers and lets this user in"
