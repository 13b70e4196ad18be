"""The arithmetic of a training's memory, held to what the same job takes on fake tensors."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


def test_the_arithmetic_is_within_a_tenth_of_the_measurement() -> None:
    """Divided and alone, with and without soft caps, tied and untied, with and without adapters."""
    jobs = ["tiny-gemma", "tiny-llama", "tiny-adapters"]
    command = [sys.executable, "-m", "benchmarks.memory", *jobs, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    rows = json.loads(done.stdout)
    assert [row["job"] for row in rows] == jobs
    for row in rows:
        assert row["computed"] == pytest.approx(row["measured"], rel=0.1), row["job"]
    assert done.returncode == 0, done.stderr[-2000:]
