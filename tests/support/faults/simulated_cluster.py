"""A process of its own that plays on a simulated Ray cluster, without real models, and says what it saw."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.parent_death import end_with_parent
from tests.support.structure import ROOT


def without_models(asked: Path) -> dict[str, str]:
    """The variables of a process whose engines are stand-ins, which append what they are asked to a file."""
    return {"EVA_ASKED": str(asked), "PYTHONPATH": f"{ROOT / 'tests/support/modelless'}{os.pathsep}{ROOT}"}


def play_apart(module: str, folder: Path, timeout_s: float) -> dict[str, Any]:
    """Runs `python -m MODULE FOLDER` and returns what its last line says in JSON."""
    ended = subprocess.run(
        [sys.executable, "-m", module, str(folder)],
        cwd=ROOT,
        check=True,
        timeout=timeout_s,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=end_with_parent,
        env={
            **os.environ,
            **without_models(folder / "asked"),
            # as `workers.cluster.connection` has it: no idle process for each core of each machine
            "RAY_prestart_worker_first_driver": "0",
        },
    )
    return json.loads(ended.stdout.splitlines()[-1])
