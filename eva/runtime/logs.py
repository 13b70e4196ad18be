"""Log records that carry run, iteration, stage and attempt, as text for people or JSON lines for programs.

The fields are not passed from function to function: the code that opens a run or a stage sets them once, and every
record until it is closed carries them, including those of libraries.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TextIO, cast, get_args

from eva.errors import ConfigError
from eva.runtime.full_disk import NO_SPACE, LossyFile, lossy_lines
from eva.runtime.private_files import keep_files_private
from eva.runtime.redaction import known_secrets, redact_json

Form = Literal["text", "json"]
FORMS: tuple[Form, ...] = get_args(Form)

OWN = ("api", "cli", "eva", "orchestrator", "store", "workers")
"""eva's own loggers, which log from INFO on; libraries log from WARNING on."""

_here: ContextVar[Mapping[str, Any]] = ContextVar("_here", default=MappingProxyType({}))


_for_good = ExitStack()
"""What a worker's process opens and never closes; without this reference it would be closed at once."""


class _Process:
    """Fields and form of all log records of this process: a driver plays one run, on all of its threads."""

    fields: Mapping[str, Any] = {}
    form: Form = "text"


def parse_form(text: str) -> Form:
    """Returns a log format by name. Raises ConfigError if there is no such format."""
    if text not in FORMS:
        raise ConfigError(
            f"EVA_LOG_FORMAT is {text!r}", expected=f"one of {', '.join(FORMS)}", next_move="Correct it or unset it"
        )
    return text


def log_fields() -> dict[str, Any]:
    """Returns the fields that log records of this process and thread carry now."""
    return {**_Process.fields, **_here.get()}


@contextmanager
def log_context(**fields: Any) -> Generator[None]:
    """Adds fields to all log records of this thread inside the block."""
    token = _here.set({**_here.get(), **fields})
    try:
        yield
    finally:
        _here.reset(token)


@contextmanager
def process_log_context(**fields: Any) -> Generator[None]:
    """Adds fields to the log records of every thread of this process inside the block."""
    before = _Process.fields
    _Process.fields = {**before, **fields}
    try:
        yield
    finally:
        _Process.fields = before


@contextmanager
def write_logs_to(stream: TextIO, form: Form) -> Generator[None]:
    """Writes log records to the stream inside the block: eva's own from INFO on, those of libraries from WARNING on."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_JsonLines() if form == "json" else _TextLines())
    root = logging.getLogger()
    levels = {name: logging.getLogger(name).level for name in OWN}
    formed, _Process.form = _Process.form, form
    root.addHandler(handler)
    for name in OWN:
        logging.getLogger(name).setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        _Process.form = formed


@dataclass(frozen=True, slots=True)
class WorkerLog:
    """The log of a worker's process: created by the driver, begun in the worker."""

    path: str
    worker: str
    form: Form = field(default_factory=lambda: _Process.form)
    run: str | None = field(default_factory=lambda: log_fields().get("run"))

    def begin(self) -> None:
        """Sends everything that this process prints or logs to the file, until the process ends or begins another.

        On a machine that has no place for it, as where no disk is shared, the file is below the folder of temporary
        files.
        """
        _for_good.close()
        keep_files_private()
        try:
            log = _opened(Path(self.path))
        except OSError as error:
            if error.errno not in NO_SPACE:
                raise
        else:
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.close(log)
        # what is printed while the disk is full is lost, and does not end the work
        sys.stdout, sys.stderr = (lossy_lines(LossyFile(number, "a", closefd=False)) for number in (1, 2))
        _Process.fields = {"run": self.run, "worker": self.worker}
        _for_good.enter_context(write_logs_to(sys.stderr, self.form))


def _opened(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        folder = Path(tempfile.gettempdir()) / f"eva-logs-{os.getuid()}" / path.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder / path.name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def log_entry(record: logging.LogRecord) -> dict[str, Any]:
    """Returns what is written for a record, without secrets: time, level, logger, message, fields, data, exception."""
    entry: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
        **{name: value for name, value in log_fields().items() if value is not None},
    }
    if data := getattr(record, "data", None):
        entry["data"] = json.loads(json.dumps(data, default=str))
    if record.exc_info:
        entry["exception"] = logging.Formatter().formatException(record.exc_info)
    return cast("dict[str, Any]", redact_json(entry, known_secrets()))


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(log_entry(record))


class _TextLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = log_entry(record)
        about = " ".join(f"{name}={entry[name]}" for name in log_fields() if name in entry)
        data = f" {json.dumps(entry['data'])}" if "data" in entry else ""
        trace = f"\n{entry['exception']}" if "exception" in entry else ""
        place = f" [{about}]" if about else ""
        return f"{entry['time']} {record.levelname} {record.name}{place}: {entry['message']}{data}{trace}"
