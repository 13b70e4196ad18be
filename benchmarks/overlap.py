"""Compares a run whose children are evolved while the solver is trained with the same run that waits.

    python -m benchmarks.overlap [--json] [--latency SECONDS] [--epochs N]

Both play the playground with every real part (engine, rewarder, TRL, Postgres), with `info_from: reuse` and an evolver
that answers after a latency, as a service does; only `evolving.overlap` differs. In turns, with workers that stay up;
the whole run counts. Runs of different fingerprints are no comparison, and end it. It takes some minutes.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.measuring import Timings, parser, seconds, show
from eva.config import RunConfig
from eva.config.files import load_config
from eva.roles import Evolver, Roles
from eva.settings import Settings
from eva.types import Mutation, Reply
from orchestrator.driver import RolesBuilder, build_roles, drive
from orchestrator.hold.overseer import Overseer
from orchestrator.launch.registration import register_run
from orchestrator.warm_workers import WarmWorkers
from orchestrator.watch.listener import NoListener
from store.runs import stages
from store.session import Store, open_store
from store.views.fingerprint import fingerprint, first_difference

PROMPTS, ITERATIONS, LATENCY_S, REPEATS, TARGET = 64, 4, 2.0, 2, 1.3
EPOCHS = 8
"""So many passes that training takes about as long as evolving, as it does with models of some size."""


@dataclass
class DistantEvolver:
    """An evolver that answers after a latency."""

    evolver: Evolver
    latency_s: float

    @property
    def operators(self) -> tuple[str, ...]:
        return self.evolver.operators

    def evolve(self, mutation: Mutation) -> Reply:
        time.sleep(self.latency_s)
        return self.evolver.evolve(mutation)


@dataclass(frozen=True)
class Played:
    """A run: its seconds, those of its stages `evolve` and `train`, and those in which it evolved ahead."""

    run: int
    seconds: float
    evolving_s: float
    training_s: float
    ahead_s: float


def play(
    store: Store, settings: Settings, warm: WarmWorkers, latency_s: float, epochs: int, *, overlap: bool
) -> Played:
    """Plays the run, with or without overlap."""
    changes = [f"prompts.playground={PROMPTS}", f"iterations={ITERATIONS}", "evaluation.when=never"]
    changes += ["info_from=reuse", f"evolving.overlap={str(overlap).lower()}", f"training.epochs={epochs}"]
    config = load_config("playground", changes)
    run = register_run(store, config)
    taken_s = seconds(lambda: drive(store, settings, run, NoListener(), build=_distant(latency_s, warm)))
    with store.transaction() as conn:
        rows = stages.read_stages(conn, run.id)
    evolving = [row for row in rows if row.name == "evolve"]
    return Played(
        run.id,
        taken_s,
        sum(row.seconds for row in evolving),
        sum(row.seconds for row in rows if row.name == "train"),
        sum(row.counts.get("ahead", {}).get("seconds", 0.0) for row in evolving),
    )


def _distant(latency_s: float, warm: WarmWorkers) -> RolesBuilder:
    @contextmanager
    def build(config: RunConfig, folder: Path, settings: Settings, overseer: Overseer) -> Generator[Roles]:
        with build_roles(config, folder, settings, overseer, fence=1, warm=warm) as roles:
            yield dataclasses.replace(roles, evolver=DistantEvolver(roles.evolver, latency_s))

    return build


def require_same(store: Store, ahead: Played, serial: Played) -> None:
    """Raises SystemExit if the two runs have decided differently."""
    with store.transaction() as conn:
        difference = first_difference(fingerprint(conn, ahead.run), fingerprint(conn, serial.run))
    if difference is not None:
        raise SystemExit(f"the runs differ, first in {difference}: their times cannot be compared")


def compare(latency_s: float, epochs: int) -> tuple[Timings, dict[str, float]]:
    """Returns the seconds of both runs, and those of their stages."""
    with tempfile.TemporaryDirectory(prefix="eva-bench-") as folder:
        Path(folder).chmod(0o755)  # root's server runs as another user
        settings = Settings(Path(folder), None, None)
        store = open_store(settings)
        with WarmWorkers(settings) as warm:
            play(store, settings, warm, 0.0, epochs, overlap=True)  # imports and starts everything
            pairs = [
                tuple(play(store, settings, warm, latency_s, epochs, overlap=overlap) for overlap in (True, False))
                for _ in range(REPEATS)
            ]
        for ahead, serial in pairs:
            require_same(store, ahead, serial)
        store.close()
    timings = Timings(
        f"{ITERATIONS} iterations of {PROMPTS} prompts with an evolver of {latency_s:g} s latency, {epochs} epochs",
        "overlap",
        "serial",
        tuple(ahead.seconds for ahead, _ in pairs),
        tuple(serial.seconds for _, serial in pairs),
        TARGET,
    )
    return timings, {
        "serial_evolving_s": median(serial.evolving_s for _, serial in pairs),
        "serial_training_s": median(serial.training_s for _, serial in pairs),
        "evolving_s": median(ahead.evolving_s for ahead, _ in pairs),
        "training_s": median(ahead.training_s for ahead, _ in pairs),
        "ahead_s": median(ahead.ahead_s for ahead, _ in pairs),
    }


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--latency", type=float, default=LATENCY_S, help="seconds until the evolver answers")
    options.add_argument("--epochs", type=int, default=EPOCHS, help="passes over the pairs: how long training takes")
    asked = options.parse_args()
    timings, of_stages = compare(asked.latency, asked.epochs)
    show(timings, as_json=asked.json)
    if asked.json:
        print(json.dumps(of_stages))
        return
    serial = f"evolve {of_stages['serial_evolving_s']:.1f} s and train {of_stages['serial_training_s']:.1f} s in turn"
    overlapped = f"{of_stages['evolving_s']:.1f} s and {of_stages['training_s']:.1f} s"
    print(f"  stages    {serial}; with overlap {overlapped}, and {of_stages['ahead_s']:.1f} s of evolving ahead")
    print("  decisions equal: the runs of a turn have the same fingerprint")


if __name__ == "__main__":
    main()
