"""Files of the chains of children that were evolved ahead of their turn, so that a killed driver's are not paid again.

The database takes them in their turn. Until then each driver has a file of its own for an iteration, in which every
line is a chain, with the digest of the plan that it was written by.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from eva.types import Chain

FOLDER = "ahead"
_NAME = re.compile(r"iteration-([0-9]+)-driver-([0-9]+)\.jsonl")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Line:
    plan: str
    chain: Chain


_LINE = TypeAdapter(_Line)


@dataclass(frozen=True, slots=True)
class ChainFiles:
    """The files of one iteration. `fence`: of the driver that appends."""

    run_folder: Path
    iteration: int
    fence: int

    @property
    def _own(self) -> Path:
        return self.run_folder / FOLDER / f"iteration-{self.iteration}-driver-{self.fence}.jsonl"

    def read(self, plan: str) -> dict[int, Chain]:
        """Returns the chains that were written by this plan, by their source. Unfinished lines are left out."""
        chains: dict[int, Chain] = {}
        for path, iteration in sorted(self._paths()):
            if iteration == self.iteration:
                for line in _lines(path):
                    if line.plan == plan:
                        chains.setdefault(line.chain.source, line.chain)
        return chains

    def append(self, plan: str, chain: Chain) -> None:
        """Writes a chain to this driver's file. Where that fails the chain is only in memory, as it was."""
        try:
            self._own.parent.mkdir(parents=True, exist_ok=True)
            with self._own.open("ab") as file:
                file.write(_LINE.dump_json(_Line(plan, chain)) + b"\n")
        except OSError as error:
            log.warning("a chain of children that was evolved ahead is in memory only: %s", error)

    def remove(self) -> None:
        """Removes the files of this iteration and of earlier ones, whose chains the database has."""
        for path, iteration in self._paths():
            if iteration <= self.iteration:
                with suppress(OSError):  # the next iteration tries again
                    path.unlink()
        with suppress(OSError):  # it is not empty, or not there
            (self.run_folder / FOLDER).rmdir()

    def _paths(self) -> Iterator[tuple[Path, int]]:
        for path in (self.run_folder / FOLDER).glob("*.jsonl"):
            if match := _NAME.fullmatch(path.name):
                yield path, int(match[1])


def _lines(path: Path) -> Iterator[_Line]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        log.warning("children that were evolved ahead are evolved again, because their file cannot be read: %s", error)
        return
    for line in lines:
        with suppress(ValidationError):  # the process was killed while it wrote
            yield _LINE.validate_json(line)
