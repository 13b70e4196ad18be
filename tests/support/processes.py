"""Processes of `eva serve` that a test starts, and whether a process is still there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.support.structure import ROOT


@contextmanager
def server(
    folder: Path, *arguments: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`eva serve` at a free port, and the address that it printed. `folder` is the data directory."""
    environment = {key: value for key, value in os.environ.items() if key not in ("EVA_DATABASE_URL", "RAY_ADDRESS")}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "cli.main", "serve", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**environment, **(env or {}), "EVA_DATA_DIR": str(folder), "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        found = re.search(r"http://\S+", first)
        assert found, first
        yield process, found.group()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def alive(process: psutil.Process) -> bool:
    """Whether it still does something."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
