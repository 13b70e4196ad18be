"""Compares a whole iteration of the playground with a process per stage, as the paper's scripts play it.

    python -m benchmarks.iteration [--json]

`eva run` plays three iterations; the last one counts, from the end of the one before to its own end. The plain side
plays an iteration from the same policy and the same pool, with the same parts of eva for what decides, `vllm.LLM` to
answer and TRL to train: seven processes, one after the other, that hand files on. Both end with a new checkpoint. In
turns; it takes some minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.measuring import Timings, parser, show
from benchmarks.process_per_stage import ITERATION
from benchmarks.study import command
from eva.config import RunConfig
from eva.config.files import load_config
from eva.settings import Settings
from eva.solver.manifest import checkpoint_folder
from eva.types import Checkpoint
from store.game import batches, checkpoints, prompts
from store.runs import events, runs
from store.session import open_store
from workers.cluster.environment import engine_environment, training_environment

PROMPTS, LAST, REPEATS, TARGET = 128, 2, 2, 2.0
PATIENCE_S = 3600.0


@dataclass(frozen=True)
class Played:
    """What `eva run` has played: the seconds of its last iteration, and what that began with."""

    seconds: float
    policy: Checkpoint
    pool: list[str]


def play(folder: Path, config: RunConfig) -> Played:
    """Plays a run, and returns what its last iteration began with."""
    file = folder / "config.yaml"
    file.write_text(json.dumps(config.model_dump(mode="json")))
    command(folder, "run", str(file))
    settings = Settings(folder, None, None)
    with closing(open_store(settings, migrate=False)) as store, store.transaction() as conn:
        run = runs.find_run(conn, "last")
        ends = {e.iteration: e.at for e in events.events_after(conn, run.id) if e.kind == "iteration_finished"}
        row = checkpoints.read_checkpoint(conn, run.id, LAST)
        numbers = batches.read_batch_numbers(conn, run.id, LAST - 1)
        pool = [prompt.text for prompt in prompts.read_prompts(conn, run.id, numbers)]
    assert row is not None
    path = checkpoint_folder(row.path, settings.runs_dir)
    policy = Checkpoint(row.number, row.iteration, str(path), row.digest)
    return Played((ends[LAST] - ends[LAST - 1]).total_seconds(), policy, pool)


def play_plainly(folder: Path, config: RunConfig, played: Played) -> float:
    """Plays one iteration with a process per stage, and returns its seconds."""
    folder.mkdir()
    job = {"config": config.model_dump(mode="json"), "policy": asdict(played.policy)}
    (folder / "job.json").write_text(json.dumps(job))
    (folder / "texts.json").write_text(json.dumps(played.pool))
    began = time.perf_counter()
    for stage in ITERATION:
        environment = training_environment(gpu=False) if stage == "train" else engine_environment(1)
        with (folder / f"{stage}.log").open("a") as log:
            subprocess.run(
                [sys.executable, "-m", "benchmarks.process_per_stage", stage, str(folder)],
                env=os.environ | environment,
                stdout=log,
                stderr=log,
                timeout=PATIENCE_S,
                check=True,
            )
    return time.perf_counter() - began


def compare() -> Timings:
    """Plays both sides in turns."""
    config = load_config(
        "playground", [f"prompts.playground={PROMPTS}", f"iterations={LAST + 1}", "evaluation.when=never"]
    )
    eva: list[float] = []
    plain: list[float] = []
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory(prefix="eva-bench-") as scratch:
            folder = Path(scratch)
            folder.chmod(0o755)  # root's server runs as another user
            played = play(folder, config)
            eva.append(played.seconds)
            plain.append(play_plainly(folder / "plain", config, played))
    what = f"an iteration of {PROMPTS} prompts x {config.generation.n}, and the same with {len(ITERATION)} processes"
    return Timings(what, "eva", "processes", tuple(eva), tuple(plain), TARGET)


if __name__ == "__main__":
    asked = parser(__doc__).parse_args()
    show(compare(), as_json=asked.json)
