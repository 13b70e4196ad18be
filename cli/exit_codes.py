"""How an error looks to whoever called a command: one message, one exit code."""

from __future__ import annotations

from cli.terminal.printable import printable
from eva.errors import ConflictError, EvaError, InputError, NotFoundError, RunStoppedError
from eva.runtime.redaction import known_secrets, redact

INPUT, CONFLICT, INFRASTRUCTURE, INTERRUPTED = 2, 3, 4, 130


def exit_code(error: EvaError) -> int:
    """2: what was given cannot be used; 3: the thing's state forbids it; 4: a machine or service failed."""
    if isinstance(error, InputError | NotFoundError):
        return INPUT
    if isinstance(error, ConflictError | RunStoppedError):
        return CONFLICT
    return INFRASTRUCTURE


def message(error: EvaError) -> str:
    """What is printed on stderr. Lists of problems keep their lines."""
    shown = redact(f"eva: {error}", known_secrets())
    return "\n".join(printable(line) for line in shown.split("\n"))
