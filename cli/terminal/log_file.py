"""The log file of a run that plays: libraries print there, so that the terminal belongs to eva."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

from typing_extensions import override

from eva.errors import DiskFullError, InputError
from eva.runtime.full_disk import NO_SPACE, LossyFile, lossy_lines
from eva.runtime.logs import Form, write_logs_to

PRINTED = "printed.log"
"""The file beside a log of JSON lines that takes what libraries print."""


@contextmanager
def chatter_to(path: Path, form: Form = "text") -> Generator[TextIO]:
    """Redirect log records, and standard output and error of this process and its children, to a file.

    Yields the terminal. If the log is JSON lines, what is printed goes to PRINTED beside it, so that every line of the
    log is JSON. Files are appended to, so a resumed run continues its log. A full disk does not stop the run: the lost
    writes are counted and reported at the end. Raises InputError if the file cannot be written, DiskFullError if the
    disk is full.
    """
    with ExitStack() as stack:
        file = stack.enter_context(_appending(path))
        printed = file if form == "text" else stack.enter_context(_appending(path.with_name(PRINTED)))
        log = stack.enter_context(lossy_lines(printed))
        records = log if printed is file else stack.enter_context(lossy_lines(file))
        terminal = stack.enter_context(_terminal())
        stack.callback(
            lambda: (
                (lost := sum(log_file.lost for log_file in {file, printed}))
                and terminal.write(f"The disk was full: {lost} writes to the log {path} were lost\n")
            )
        )
        for descriptor, stream in ((1, sys.stdout), (2, sys.stderr)):
            if _descriptor(stream) == descriptor:
                stack.enter_context(_redirected(descriptor, log.fileno()))
        stack.enter_context(contextlib.redirect_stdout(log))
        stack.enter_context(contextlib.redirect_stderr(log))
        stack.enter_context(write_logs_to(records, form))
        yield terminal


class _Terminal(io.FileIO):
    """A terminal that may be closed, or a pipe whose reader may leave, while the run is being stopped."""

    @override
    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EPIPE):
                raise
            return len(data)


@contextmanager
def _appending(path: Path) -> Generator[LossyFile]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        log = LossyFile(path, "a")
    except OSError as error:
        kind = DiskFullError if error.errno in NO_SPACE else InputError
        raise kind(
            f"cannot write the log {path}: {(error.strerror or str(error)).lower()}",
            expected="a data directory that eva may write to",
            next_move="Set EVA_DATA_DIR to another folder",
        ) from error
    with log:
        yield log


@contextmanager
def _terminal() -> Generator[TextIO]:
    """Standard output, with a descriptor of its own if it is descriptor 1. Nothing fails if nobody reads it."""
    if _descriptor(sys.stdout) != 1:
        yield sys.stdout
        return
    sys.stdout.flush()
    encoding, errors = sys.stdout.encoding, sys.stdout.errors or "replace"
    with _Terminal(os.dup(1), "w") as raw:
        buffered = io.BufferedWriter(raw)
        with io.TextIOWrapper(buffered, encoding=encoding, errors=errors, line_buffering=True) as terminal:
            yield terminal


@contextmanager
def _redirected(descriptor: int, target: int) -> Generator[None]:
    original = os.dup(descriptor)
    try:
        os.dup2(target, descriptor)
        yield
    finally:
        os.dup2(original, descriptor)
        os.close(original)


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (io.UnsupportedOperation, AttributeError, ValueError):
        return None
