"""Kills drivers at random, again and again, and checks that their runs end as if nothing had happened.

    python -m benchmarks.chaos --runs 40 --kills 4      on fakes: seconds per run
    python -m benchmarks.chaos --runs 0 --real 2        with Ray, vLLM and TRL: minutes per run

Prints a table and writes it into docs/reliability.md; --print leaves the file alone. If a run does not end so,
the folder with its logs is kept, and its name is printed.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.measuring import machine
from eva.runtime.failpoints import VARIABLE
from eva.settings import Settings
from store.runs import runs
from store.session import open_store
from store.views.fingerprint import Fingerprint, fingerprint
from tests.support.faults.drivers import Drivers
from tests.support.faults.game import game_config
from tests.support.faults.kills import kill_at_random
from tests.support.faults.trial import Trial, kept_rows

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- written by make chaos -->", "<!-- end of what make chaos writes -->"
REAL = ("--set", "prompts.playground=32", "--set", "iterations=2", "--set", "evaluation.playground=10")
DRIVER_POINTS = ("stage.*", "judge.*", "evaluate.*", "evolve.*", "iteration.*", "train.*")
COMMITS = ("stage.flush.after_commit", "stage.close.after_commit")
SURE = ("judge.response_received", "train.step_reported")
"""Where every real run is killed, whatever chance says: while it generates and while it trains."""
SOURCES = ("api", "cli", "eva", "migrations", "orchestrator", "store", "workers")


@dataclass
class Tally:
    """The results of the disturbed runs of one kind."""

    kind: str
    total: int = 0
    equal: int = 0
    kills: int = 0
    repeated: int = 0
    lost: int = 0
    recoveries_s: list[float] = field(default_factory=list[float])

    def row(self) -> str:
        p50, p99 = np.percentile(self.recoveries_s, (50, 99)) if self.recoveries_s else (np.nan, np.nan)
        return (
            f"| {self.kind} | {self.equal} / {self.total} | {self.kills} | {self.repeated} | {self.lost} "
            f"| {p50:.2f} s | {p99:.2f} s | {len(self.recoveries_s)} |"
        )


def fakes(folder: Path, wanted: int, kills: int, seeds: int) -> Tally:
    """Disturbs games on fakes with several seeds, whose drivers are forked from a warm process."""
    tally = Tally("fakes: journal, dispatch, publication and Postgres are real")
    settings = Settings(folder, None, None)
    store = open_store(settings)
    url = store.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with Drivers() as drivers:
        for seed in range(seeds if wanted else 0):
            calm = Trial(store, drivers, folder, url, game_config(seed))
            calm.finish()
            expected = calm.fingerprint()
            for number in range(seed, wanted, seeds):
                trial = Trial(store, drivers, folder, url, game_config(seed))
                kill_at_random(trial, number, len(calm.points), calm.lasts_s, kills)
                tally.total += 1
                tally.equal += _same(trial.fingerprint(), expected)
                tally.kills += trial.kills
                tally.repeated += len(trial.repeated)
                tally.lost += len(trial.lost)
                tally.recoveries_s += trial.recoveries_s
                _tell(tally)
    store.close()
    return tally


class RealRun:
    """`eva run` in a separate process, with all real parts, started cold each time.

    `source` is a copy of the code, because a run only continues with the code that it was started with.
    """

    def __init__(self, folder: Path, source: Path, name: str) -> None:
        self._folder, self._store, self._name = folder, open_store(Settings(folder, None, None)), name
        self._source = source
        self._notes = folder / f"{name}.notes"
        self.kills, self.repeated, self.lost = 0, 0, 0
        self.recoveries_s: list[float] = []
        self._killed_at: float | None = None

    @property
    def killed(self) -> bool:
        """Returns whether the last driver was killed."""
        return self._killed_at is not None

    def drive(self, kill: str | None = None) -> None:
        """Starts or resumes the run; `kill` is a failpoint in the driver."""
        before, told, rows = self._answered(), len(self._lines()), self._rows()
        points = [f"{pattern}=note:{self._notes}" for pattern in DRIVER_POINTS] + ([kill] if kill else [])
        what = ["--resume", self._full_name()] if rows else ["playground", "--name", self._name, *REAL]
        with (self._folder / "eva.out").open("ab") as out:
            status = subprocess.run(
                [sys.executable, "-m", "cli.main", "run", *what],
                cwd=self._source,
                check=False,
                stdout=out,
                stderr=out,
                env={
                    **os.environ,
                    "EVA_DATA_DIR": str(self._folder),
                    "PYTHONPATH": str(self._source),
                    VARIABLE: ",".join(points),
                },
            ).returncode
        ended, fresh = time.monotonic(), self._lines()[told:]
        self.lost += len(rows - self._rows())
        if self._killed_at is not None:
            first = next((at for at, name in fresh if name in COMMITS), None)
            self.recoveries_s += [] if first is None else [first - self._killed_at]
        self._killed_at = ended if status < 0 else None
        self.kills += status < 0
        if status == 0:
            received = sum(name.endswith(".answer_received") for _, name in fresh)
            self.repeated += received - (self._answered() - before)
        elif status > 0:
            said = (self._folder / "eva.out").read_text(errors="replace").splitlines()[-20:]
            raise SystemExit("\n".join([f"eva run ended with {status} without being killed; its last output:", *said]))

    def fingerprint(self) -> Fingerprint:
        with self._store.transaction() as conn:
            return fingerprint(conn, runs.find_run(conn, self._full_name()).id)

    def points(self) -> list[str]:
        return [name for _, name in self._lines()]

    def close(self) -> None:
        self._store.close()

    def _lines(self) -> list[tuple[float, str]]:
        lines = self._notes.read_text().splitlines() if self._notes.exists() else []
        return [(float(line.split()[0]), line.split()[2]) for line in lines]

    def _full_name(self) -> str:
        with self._store.transaction() as conn:
            return next(row.name for row in runs.list_runs(conn) if row.name.startswith(f"{self._name}-"))

    def _rows(self) -> set[tuple[object, ...]]:
        with self._store.transaction() as conn:
            found = [row.id for row in runs.list_runs(conn) if row.name.startswith(f"{self._name}-")]
            return {row for run_id in found for row in kept_rows(conn, run_id)}

    def _answered(self) -> int:
        """Counts the prompts with stored responses, by policy and kind of request."""
        keys = {(row[1], row[2], row[3]) for row in self._rows() if row[0] == "responses"}
        held_out = {row[1:6] for row in self._rows() if row[0] == "heldout_responses"}
        return len(keys) + len(held_out)


def real(folder: Path, wanted: int, kills: int) -> Tally:
    """Disturbs runs of the playground with the real parts, whose drivers are killed at random failpoints."""
    tally = Tally("real parts: Ray, vLLM, TRL; `eva run` started cold")
    if not wanted:
        return tally
    source = folder / "source"
    for name in SOURCES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    calm = RealRun(folder, source, "calm")
    calm.drive()
    expected, points = calm.fingerprint(), calm.points()
    calm.close()
    for number in range(wanted):
        rng, run = random.Random(number), RealRun(folder, source, f"killed{number}")
        for turn in range(kills):
            point = SURE[turn] if turn < len(SURE) else rng.choice(sorted(set(points)))
            print(f"killed{number}: will be killed at {point}", flush=True)
            run.drive(f"{point}=kill@{rng.randint(1, max(1, points.count(point) // 2))}")
            if not run.killed:
                break
        if run.killed:
            run.drive()
        tally.total += 1
        tally.equal += _same(run.fingerprint(), expected)
        tally.kills += run.kills
        tally.repeated += run.repeated
        tally.lost += run.lost
        tally.recoveries_s += run.recoveries_s
        run.close()
        _tell(tally)
    return tally


def table(tallies: Iterable[Tally], command: str) -> str:
    lines = [
        f"`{command}`, {time.strftime('%Y-%m-%d')}, on {machine()}.",
        "",
        "| runs | fingerprints equal | kills | responses generated twice | rows lost | recovery p50 | p99 | measured |",
        "|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(tally.row() for tally in tallies if tally.total)])


def write(page: Path, text: str) -> None:
    """Writes the table between the page's two marks."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}", encoding="utf-8")


def _same(one: Fingerprint, other: Fingerprint) -> bool:
    return (one.digest, one.weights) == (other.digest, other.weights)


def _tell(tally: Tally) -> None:
    print(
        f"{tally.equal} of {tally.total} equal, {tally.kills} kills, {tally.repeated} generated twice, "
        f"{tally.lost} rows lost",
        flush=True,
    )


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100, help="disturbed runs on fakes")
    parser.add_argument("--kills", type=int, default=4, help="most kills of each of them")
    parser.add_argument("--seeds", type=int, default=4, help="how many different games they play")
    parser.add_argument("--real", type=int, default=0, help="disturbed runs with the real parts")
    parser.add_argument("--real-kills", type=int, default=2, help="most kills of each of them")
    parser.add_argument("--print", action="store_true", help="leave docs/reliability.md as it is")
    given = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="eva-chaos-"))
    folder.chmod(0o755)  # root's server runs as another user
    try:
        tallies = [fakes(folder, given.runs, given.kills, given.seeds), real(folder, given.real, given.real_kills)]
    except BaseException:
        print(f"output and logs are kept in {folder}", flush=True)
        raise
    failed = any(tally.equal < tally.total or tally.repeated or tally.lost for tally in tallies)
    if failed:
        print(f"the runs are kept in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    shown = [word for word in arguments if word != "--print"]
    text = table(tallies, f'make chaos ARGS="{" ".join(shown)}"' if shown else "make chaos")
    print(text)
    if not given.print:
        write(PAGE, text)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
