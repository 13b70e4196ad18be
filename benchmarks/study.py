"""Compares a study with `eva run` of the same arms, one by one.

    python -m benchmarks.study [--json]

Both are commands, each with a data directory of its own: their seconds contain imports, the database, Ray and the
engine. The study plays shared iterations once, and its workers stay up. Both evaluate only the last policy of each arm.
It takes some minutes on two quiet cores.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measuring import Timings, parser, seconds, show
from eva.studies.files import load_study
from eva.studies.plan import plan_study

STUDY, TARGET = "study-smoke", 2.0
PATIENCE_S = 3600.0


def command(folder: Path, *arguments: str) -> None:
    """Runs `eva` with a data directory of its own. Raises CalledProcessError if it fails."""
    subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        env=os.environ | {"EVA_DATA_DIR": str(folder)},
        stdout=subprocess.DEVNULL,
        timeout=PATIENCE_S,
        check=True,
    )


def compare(study: str = STUDY) -> Timings:
    """Plays the study, and then each of its arms with `eva run`; returns seconds per arm."""
    folder = Path(tempfile.mkdtemp(prefix="eva-bench-"))
    folder.chmod(0o755)  # root's server runs as another user
    arms = [run for run in plan_study(load_study(study)).runs if not run.cell.shared]
    try:
        together = seconds(lambda: command(folder / "study", "study", study)) / len(arms)
        alone: list[float] = []
        for number, arm in enumerate(arms):
            config = folder / f"{number}.yaml"
            config.write_text(json.dumps(arm.config.model_dump(mode="json")))
            alone.append(seconds(lambda config=config: command(folder / "alone", "run", str(config))))
    finally:
        shutil.rmtree(folder)
    what = f"{study}: seconds per arm, {len(arms)} arms, played as a study and with `eva run` one by one"
    return Timings(what, "study", "eva run", (together,) * len(arms), tuple(alone), TARGET)


if __name__ == "__main__":
    asked = parser(__doc__).parse_args()
    show(compare(), as_json=asked.json)
