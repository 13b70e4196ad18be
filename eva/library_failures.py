"""Tells failures of libraries and of the machine from bugs of eva, and says the former in a sentence."""

from __future__ import annotations

import sys
from types import TracebackType

from eva.errors import DiskFullError, EvaError, InfrastructureError, LibraryError, RayAwayError
from eva.runtime.full_disk import NO_SPACE

OWN = frozenset(("eva", "store", "orchestrator", "workers", "api", "cli", "migrations", "tests", "benchmarks"))
_LONGEST = 300


def told_failure(error: BaseException) -> EvaError | None:
    """Returns an error that says in a sentence what a library or the machine did, or None if eva itself is to blame.

    eva's own errors are returned as they are.
    """
    if isinstance(error, EvaError):
        return error
    if not isinstance(error, Exception):
        return None
    library = library_of(error)
    if library == "ray":
        return RayAwayError(
            f"Ray failed with {first_line(error)}",
            expected="a Ray cluster that answers",
            next_move="Resume the run when `ray status` is well; the traceback is in the log",
        )
    if isinstance(error, OSError):
        return _told_by_machine(error)
    if isinstance(error, MemoryError):
        return InfrastructureError("the machine has no memory left", next_move="Free some, then run the command again")
    if library is None:
        return None
    return LibraryError(
        f"{library} failed with {first_line(error)}",
        next_move="The log has the traceback, and so has `eva --debug`. What has been stored stays",
    )


def library_of(error: BaseException) -> str | None:
    """Returns the package that an exception comes from, or None if it comes from eva's own code.

    It is the innermost package that is neither eva's nor Python's, if no code of eva is further in. An exception of a
    library's own class is that library's, and a bare `Exception` is never eva's.
    """
    kind = type(error).__module__.partition(".")[0]
    if kind == "ray" and type(error).__name__.startswith("RayTaskError"):
        return None  # what a worker's code raised, eva's perhaps
    modules = [str(frame.tb_frame.f_globals.get("__name__", "")) for frame in _frames(error.__traceback__)]
    for module in reversed(modules):
        package = module.partition(".")[0]
        if package in OWN or package == "__main__":
            break
        if package and package not in sys.stdlib_module_names:
            return package
    if kind not in OWN and kind not in sys.stdlib_module_names:
        return kind
    return "a library" if type(error) is Exception else None


def first_line(error: BaseException) -> str:
    """Returns the class of an exception and the first line of its message."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # noqa: BLE001 - not every message can be printed
        lines = []
    said = f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
    return said if len(said) <= _LONGEST else said[: _LONGEST - 1] + "…"


def _told_by_machine(error: OSError) -> EvaError:
    where = f" ({error.filename})" if error.filename is not None else ""
    why = f"{(error.strerror or first_line(error)).lower()}{where}"
    if error.errno in NO_SPACE:
        return DiskFullError(f"the disk is full: {why}", next_move="Free some space, then run the command again")
    return InfrastructureError(
        f"this machine refused: {why}",
        expected="files, folders and addresses that eva may use",
        next_move="Correct what it names, then run the command again; `eva --debug` shows where",
    )


def _frames(traceback: TracebackType | None) -> list[TracebackType]:
    frames: list[TracebackType] = []
    while traceback is not None:
        frames.append(traceback)
        traceback = traceback.tb_next
    return frames
