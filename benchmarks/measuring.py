"""Measures and prints two ways of doing the same in turns on one machine, and the spread of their ratio."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Timings:
    """The seconds of each repeat; `ratio` is baseline over subject: above 1, the subject is faster."""

    what: str
    subject: str
    baseline: str
    subject_s: tuple[float, ...]
    baseline_s: tuple[float, ...]
    target: float

    @property
    def ratios(self) -> list[float]:
        return [old / new for new, old in zip(self.subject_s, self.baseline_s, strict=True)]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)


def seconds(action: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Returns how many seconds an action takes, by wall time or by another clock."""
    started = clock()
    action()
    return clock() - started


def machine() -> str:
    """Describes the machine: its cores, their load, and the interpreter."""
    busy = os.getloadavg()[0]
    return f"{os.cpu_count()} cores (load {busy:.1f}), {platform.machine()}, Python {platform.python_version()}"


def parser(description: str | None, *, prompts: int | None = None) -> argparse.ArgumentParser:
    """Returns the parser of a benchmark: `--help`, `--json`, and `--prompts` where it has such a number."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", action="store_true", help="print JSON in place of a table")
    if prompts is not None:
        made.add_argument("--prompts", type=int, default=prompts, metavar="N", help=f"default: {prompts:,}")
    return made


def show(comparison: Timings, *, as_json: bool) -> None:
    """Prints a comparison for people, or for programs."""
    if as_json:
        facts = {"ratio": comparison.ratio, "ratios": comparison.ratios, "machine": machine()}
        print(json.dumps(asdict(comparison) | facts))
        return
    print(comparison.what)
    print(f"  on        {machine()}")
    for name, times in ((comparison.subject, comparison.subject_s), (comparison.baseline, comparison.baseline_s)):
        print(f"  {name:<9} {statistics.median(times):8.3f} s   ({_listed(times, 3)})")
    verdict = "reached" if comparison.ratio >= comparison.target else "MISSED"
    spread = _listed(comparison.ratios, 2)
    print(f"  ratio     {comparison.ratio:8.2f}     ({spread}); target {comparison.target:g}: {verdict}")
    sys.stdout.flush()


def _listed(values: list[float] | tuple[float, ...], digits: int) -> str:
    return f"{len(values)} repeats: {min(values):.{digits}f} to {max(values):.{digits}f}"
