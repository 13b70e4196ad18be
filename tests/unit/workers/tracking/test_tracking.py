"""A tracking service's process: it may hang, crash, or babble, and whoever asks hears of it in time."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from eva.config import MlflowTracking, WandbTracking
from eva.config.tracking import Tracking
from eva.errors import ConfigError
from eva.runtime.tracker import Opening, TrackerError, TrackingPoint
from tests.support.wandb_file import history
from workers.tracking.process import TrackerProcess, check_tracking

ROOT = Path(__file__).parents[4]
OPENING = Opening("0123456789abcdef", "mine", {"seed": 7, "training": {"beta": 0.1}})
POINTS = [
    TrackingPoint(1, "policy", 0, 1000, {"heldout/easy/greedy/accuracy": 0.5}),
    TrackingPoint(2, "training_step", 1, 2000, {"train/loss": 0.7}),
    TrackingPoint(3, "training_step", 2, 2000, {"train/loss": 0.6}),
    TrackingPoint(4, "iteration", 0, 2000, {"batch/reward_mean": 0.3}),
]


@contextmanager
def tracker(folder: Path, tracking: Tracking, script: str | None = None) -> Iterator[TrackerProcess]:
    command = None if script is None else (sys.executable, "-c", script)
    made = TrackerProcess(tracking, folder=folder, log=folder / "log", command=command)
    try:
        yield made
    finally:
        made.drop()


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("import time; time.sleep(60)", r"no reply within 0\.3 s"),
        ("import sys; sys.exit('out of order')", "its process ended; .*log may say why"),
        ("print('hello', flush=True); import time; time.sleep(60)", "its process ended"),
        (r"""print('{"error": "refused"}', flush=True); import time; time.sleep(60)""", "refused"),
    ],
)
def test_a_child_that_hangs_crashes_or_prints_nonsense_is_reported(tmp_path: Path, script: str, told: str) -> None:
    timeout_s = 0.3 if "no reply" in told else 30
    with (
        tracker(tmp_path, MlflowTracking(kind="mlflow", timeout_s=timeout_s), script) as asked,
        pytest.raises(TrackerError, match=told),
    ):
        asked.open(OPENING)
    assert not [child for child in psutil.Process().children() if "time.sleep(60)" in " ".join(child.cmdline())]


def test_a_child_that_reads_nothing_does_not_block_a_long_message(tmp_path: Path) -> None:
    with tracker(
        tmp_path, MlflowTracking(kind="mlflow", timeout_s=1), "print('{}', flush=True); import time; time.sleep(60)"
    ) as asked:
        asked.open(OPENING)
        with pytest.raises(TrackerError, match="no reply within"):
            asked.send([TrackingPoint(1, "iteration", 0, 0, {f"metric-{n}": 1.0 for n in range(20_000)})])


def test_the_child_gets_none_of_evas_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVA_DATABASE_URL", "postgresql://eva:secret@db/eva")
    monkeypatch.setenv("WANDB_API_KEY", "of-wandb")
    script = "import json, os; print(json.dumps({'url': ' '.join(sorted(os.environ))}), flush=True); input()"
    with tracker(tmp_path, MlflowTracking(kind="mlflow"), script) as asked:
        names = asked.open(OPENING).split()
    assert "WANDB_API_KEY" in names and not [name for name in names if name.startswith("EVA_")]


def test_a_missing_package_is_reported_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mlflow").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"mlflow.*no such package.*eva-selfplay\[mlflow\]"):
        check_tracking(MlflowTracking(kind="mlflow"))
    monkeypatch.setenv("EVA_TRACKING_PYTHON", sys.executable)
    with pytest.raises(ConfigError, match=f"{sys.executable} has no such package"):
        check_tracking(MlflowTracking(kind="mlflow"))
    assert "wandb" in check_tracking(WandbTracking(kind="wandb"))
    monkeypatch.setenv("EVA_TRACKING_PYTHON", "/no/such/python")
    with pytest.raises(ConfigError, match="does not start"):
        check_tracking(WandbTracking(kind="wandb"))


def test_wandb_offline_continues_a_run_and_stores_a_point_once(tmp_path: Path) -> None:
    tracking = WandbTracking(kind="wandb", mode="offline")
    with tracker(tmp_path, tracking) as first:
        assert "offline" in first.open(OPENING)
        first.send(POINTS[:3])
        first.send(POINTS[1:3])
        first.close("paused")
    with tracker(tmp_path, tracking) as second:
        second.open(OPENING)
        second.send(POINTS[3:])
        second.close("finished")
    found = history(tmp_path)
    assert [step for step, _ in found] == [1, 2, 3, 4]
    for point, (_, values) in zip(POINTS, found, strict=True):
        assert values.items() >= {**point.values, point.axis: point.place}.items()
    assert {path.name.rpartition("-")[2] for path in tmp_path.glob("wandb/offline-run-*")} == {OPENING.identity}


def test_mlflow_continues_a_run_and_stores_a_point_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests" / "support" / "mlflow_double"))
    tracking = MlflowTracking(kind="mlflow", experiment="mine")

    def told(points: list[TrackingPoint], status: str, config: dict[str, Any]) -> dict[str, Any]:
        with tracker(tmp_path, tracking) as asked:
            asked.open(Opening(OPENING.identity, OPENING.name, config))
            asked.send(points)
            asked.close(status)
        (run,) = json.loads((tmp_path / "mlflow.json").read_text())["mine"].values()
        return run

    assert told(POINTS[:3], "paused", {"seed": 7})["status"] == "SCHEDULED"
    run = told(POINTS[1:], "finished", {"seed": 8, "training": {"beta": 0.1}})
    assert run["metrics"] == [[*value, point.at_ms, point.place] for point in POINTS for value in point.values.items()]
    assert run["params"] == {"seed": "7", "training.beta": "0.1"}
    assert run["status"] == "FINISHED" and run["tags"] == {"eva.run": OPENING.identity, "eva.status": "finished"}
