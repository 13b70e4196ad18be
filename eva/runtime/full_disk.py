"""Recognises a full disk, whoever reports it, so that what runs into one waits or pauses instead of failing."""

from __future__ import annotations

import errno
import io
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from typing_extensions import override

from eva.errors import DiskFullError
from eva.runtime.redaction import known_secrets, redact

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_WORDS = (
    "No space left on device",
    "Disk quota exceeded",
    f"os error {errno.ENOSPC}",
    f"os error {errno.EDQUOT}",
    "local disk's utilization is over capacity",
)
"""How libraries report it that raise errors of their own."""


def disk_full_cause(error: BaseException | None) -> BaseException | None:
    """Returns the error of a full disk among an error and its causes, None where there is none."""
    while error is not None:
        if isinstance(error, DiskFullError) or (isinstance(error, OSError) and error.errno in NO_SPACE):
            return error
        if any(words in str(error) for words in _WORDS):
            return error
        error = error.__cause__
    return None


@contextmanager
def full_disk_errors(folder: Path) -> Generator[None]:
    """Raises DiskFullError for every error of a full disk; it names the file, where that is known, or `folder`."""
    try:
        yield
    except DiskFullError:
        raise
    except Exception as error:
        cause = disk_full_cause(error)
        if cause is None:
            raise
        raise disk_full_error(folder, cause) from error


def disk_full_error(folder: Path, cause: BaseException) -> DiskFullError:
    """Returns the error for the user; `cause` comes from `disk_full_cause`."""
    if isinstance(cause, DiskFullError):
        return cause
    name = cause.filename if isinstance(cause, OSError) else None
    where = f"for {name}" if isinstance(name, str) else f"in {folder} or in the folder of temporary files"
    return DiskFullError(f"no space is left {where}", next_move="Free some space there, then resume the run")


class LossyFile(io.FileIO):
    """A file that counts the writes that fail because the disk is full, instead of raising."""

    lost = 0

    @override
    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
            self.lost += 1
            return len(data)


class _RedactedLines(io.TextIOWrapper):
    """Text without the secrets that this process knows, whoever prints it here."""

    @override
    def write(self, text: str, /) -> int:
        super().write(redact(text, known_secrets()))
        return len(text)


def lossy_lines(file: LossyFile) -> io.TextIOWrapper:
    """Returns a stream of text that writes to the file at once, without secrets."""
    return _RedactedLines(cast("IO[bytes]", file), encoding="utf-8", errors="backslashreplace", write_through=True)
