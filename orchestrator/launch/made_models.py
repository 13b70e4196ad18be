"""The playground's models that are made when they are first needed, each in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from eva.errors import InfrastructureError

MAKING_S = 6 * 3600.0
_PART = ".part-"


def playground_creator(data_dir: Path, say: Callable[[str], None]) -> Path:
    """Returns the folder of the playground's creator, which is made the first time: some minutes on two cores.

    Raises InfrastructureError.
    """
    folder = data_dir / "models" / "playground-creator"
    if not folder.is_dir():
        say(f"makes the playground's creator, which takes a few minutes and is done once: {folder}")
        make_model("the playground's creator", folder, "workers.playground.make_creator", "0")
    return folder


def make_model(what: str, folder: Path, maker: str, seed: str) -> None:
    """Makes a model in this folder, with the module `maker`. One that another process has made meanwhile is kept.

    What was half made is made again. Raises InfrastructureError.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    making = folder.with_name(f"{folder.name}{_PART}{uuid.uuid4().hex[:8]}")  # another process may make it, too
    log = folder.with_suffix(".log")
    command = [sys.executable, "-P", "-m", maker, "--seed", seed, "--out", str(making)]
    # threads that spin while they wait make it ten times slower when other processes share the cores
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    with log.open("w", encoding="utf-8") as lines:
        done = subprocess.run(
            command, stdout=lines, stderr=subprocess.STDOUT, timeout=MAKING_S, check=False, env=environment
        )
    if done.returncode != 0:
        raise InfrastructureError(f"{what} could not be made (exit code {done.returncode})", next_move=f"Read {log}")
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
