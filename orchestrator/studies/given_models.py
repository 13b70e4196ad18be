"""The models that a study starts from: folders, hub ids, and solvers of the playground made from other seeds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from eva.errors import InfrastructureError
from eva.studies.study import StudyConfig

_SEEDED = re.compile(r"playground:(\d{1,9})")
MAKING_S = 6 * 3600.0
_PART, _MAKER = ".part-", "workers.playground.make_model"


def model_paths(study: StudyConfig, data_dir: str | Path) -> dict[str, str]:
    """Returns the path of each given model by its name; a solver from another seed lies in the data directory."""
    return {
        name: str(_folder(int(match[1]), Path(data_dir))) if (match := _SEEDED.fullmatch(name)) else name
        for name in study.models
    }


def missing_models(paths: Mapping[str, str]) -> list[str]:
    """Returns the names of the solvers that have to be made first, of models by name with their paths."""
    return [name for name, path in paths.items() if _SEEDED.fullmatch(name) and not Path(path).is_dir()]


def make_models(names: Iterable[str], data_dir: Path, say: Callable[[str], None]) -> None:
    """Makes those of the named solvers that are missing, which takes about ten minutes each on two cores.

    One that exists is kept, and one that is half made is made again. Raises InfrastructureError.
    """
    for name in names:
        match = _SEEDED.fullmatch(name)
        if match is None or (folder := _folder(int(match[1]), data_dir)).is_dir():
            continue
        say(f"makes the given model {name}, about ten minutes: {folder}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
        making = folder.with_name(f"{folder.name}{_PART}{uuid.uuid4().hex[:8]}")  # another study may make it, too
        log = folder.with_suffix(".log")
        command = [sys.executable, "-P", "-m", _MAKER, "--seed", match[1], "--out", str(making)]
        # threads that spin while they wait make it ten times slower when other processes share the cores
        environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
        with log.open("w", encoding="utf-8") as lines:
            done = subprocess.run(
                command, stdout=lines, stderr=subprocess.STDOUT, timeout=MAKING_S, check=False, env=environment
            )
        if done.returncode != 0:
            raise InfrastructureError(
                f"the given model {name} could not be made (exit code {done.returncode})", next_move=f"Read {log}"
            )
        try:
            making.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
            shutil.rmtree(making)


def _remove_leftovers(folder: Path) -> None:
    """Removes what was half made by processes that cannot be at work any more."""
    for part in folder.parent.glob(f"{folder.name}{_PART}*"):
        if time.time() - part.stat().st_mtime > MAKING_S:
            shutil.rmtree(part, ignore_errors=True)


def _folder(seed: int, data_dir: Path) -> Path:
    return data_dir / "models" / f"playground-{seed}"
