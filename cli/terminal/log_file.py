"""While a run plays, the terminal belongs to eva: what libraries print goes to a log file."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, TextIO, cast

from eva.errors import DiskFullError, InputError
from eva.runtime.logs import Form, write_logs_to

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


PRINTED = "printed.log"
"""Beside a log of JSON lines: what libraries print."""


@contextmanager
def chatter_to(path: Path, form: Form = "text") -> Generator[TextIO]:
    """Send log records, and standard output and error of this process and its children, to a file; yields the terminal.

    In a log of JSON lines every line is one: what is printed goes to PRINTED beside it. The files grow by appending, so
    a resumed run's log goes on. What a full disk does not take is left out, and said at the end: a run does not end for
    its log. Raises InputError where it cannot be written.
    """
    with ExitStack() as stack:
        file = stack.enter_context(_appending(path))
        printed = file if form == "text" else stack.enter_context(_appending(path.with_name(PRINTED)))
        log = stack.enter_context(_lines(printed))
        records = log if printed is file else stack.enter_context(_lines(file))
        terminal = stack.enter_context(_terminal())
        stack.callback(
            lambda: (
                (lost := sum(one.lost for one in {file, printed}))
                and terminal.write(f"{lost} pieces of the log {path} were left out: its disk was full\n")
            )
        )
        for descriptor, stream in ((1, sys.stdout), (2, sys.stderr)):
            if _descriptor(stream) == descriptor:
                stack.enter_context(_redirected(descriptor, log.fileno()))
        stack.enter_context(contextlib.redirect_stdout(log))
        stack.enter_context(contextlib.redirect_stderr(log))
        stack.enter_context(write_logs_to(records, form))
        yield terminal


class _Log(io.FileIO):
    """A file that takes what its disk has space for, and counts what it has not."""

    lost = 0

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            if error.errno not in _NO_SPACE:
                raise
            self.lost += 1
            return len(data)


@contextmanager
def _appending(path: Path) -> Generator[_Log]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        log = _Log(path, "a")
    except OSError as error:
        kind = DiskFullError if error.errno in _NO_SPACE else InputError
        raise kind(
            f"the log {path} cannot be written: {(error.strerror or str(error)).lower()}",
            expected="a data directory that may be written",
            next_move="Set EVA_DATA_DIR to another folder",
        ) from error
    with log:
        yield log


def _lines(file: _Log) -> io.TextIOWrapper:
    return io.TextIOWrapper(cast("IO[bytes]", file), encoding="utf-8", errors="backslashreplace", write_through=True)


@contextmanager
def _terminal() -> Generator[TextIO]:
    """Standard output, under a descriptor of its own where it is a real one."""
    if _descriptor(sys.stdout) != 1:
        yield sys.stdout
        return
    sys.stdout.flush()
    encoding, errors = sys.stdout.encoding, sys.stdout.errors or "replace"
    with os.fdopen(os.dup(1), "w", encoding=encoding, errors=errors, buffering=1) as terminal:
        yield terminal


@contextmanager
def _redirected(descriptor: int, target: int) -> Generator[None]:
    kept = os.dup(descriptor)
    try:
        os.dup2(target, descriptor)
        yield
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (io.UnsupportedOperation, AttributeError, ValueError):
        return None
