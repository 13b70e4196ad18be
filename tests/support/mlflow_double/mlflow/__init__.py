"""What eva calls of MLflow, with the signatures of mlflow-skinny 3.17.2, which cannot be installed beside the engines.

Runs lie in `mlflow.json` of the current folder. As in MLflow's SQL store, a param never changes and a metric's point
that is there is not stored twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mlflow.entities import Metric, Param, RunTag

_FILE = Path("mlflow.json")


class MlflowClient:
    def __init__(self, tracking_uri: str | None = None, registry_uri: str | None = None) -> None:
        self._uri = tracking_uri

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id=name) if name in _read() else None

    def create_experiment(
        self, name: str, artifact_location: str | None = None, tags: dict[str, Any] | None = None
    ) -> str:
        _write(_read() | {name: {}})
        return name

    def search_runs(
        self,
        experiment_ids: list[str],
        filter_string: str = "",
        run_view_type: int = 1,
        max_results: int = 1000,
        order_by: list[str] | None = None,
        page_token: str | None = None,
    ) -> Any:
        asked = re.fullmatch(r"tags\.`([\w.]+)` = '(\w+)'", filter_string)
        assert asked
        return [
            _run(name, run) for name, run in _read()[experiment_ids[0]].items() if run["tags"].get(asked[1]) == asked[2]
        ][:max_results]

    def create_run(
        self,
        experiment_id: str,
        start_time: int | None = None,
        tags: dict[str, Any] | None = None,
        run_name: str | None = None,
    ) -> Any:
        store = _read()
        name = f"run-{len(store[experiment_id])}"
        store[experiment_id][name] = {"name": run_name, "tags": tags, "params": {}, "metrics": [], "status": "RUNNING"}
        _write(store)
        return _run(name, store[experiment_id][name])

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Metric] = (),
        params: Sequence[Param] = (),
        tags: Sequence[RunTag] = (),
        synchronous: bool | None = None,
    ) -> None:
        assert len(metrics) <= 1000 and len(params) <= 100
        store = _read()
        run = _of(store, run_id)
        for param in params:
            assert run["params"].setdefault(param.key, param.value) == param.value
        points = [[metric.key, metric.value, metric.timestamp, metric.step] for metric in metrics]
        run["metrics"] += [point for point in points if point not in run["metrics"]]
        run["tags"] |= {tag.key: tag.value for tag in tags}
        _write(store)

    def update_run(self, run_id: str, status: str | None = None, name: str | None = None) -> None:
        self.set_terminated(run_id, status)

    def set_terminated(self, run_id: str, status: str | None = None, end_time: int | None = None) -> None:
        store = _read()
        _of(store, run_id)["status"] = status
        _write(store)


def _run(name: str, run: dict[str, Any]) -> Any:
    return SimpleNamespace(info=SimpleNamespace(run_id=name), data=SimpleNamespace(params=run["params"]))


def _of(store: dict[str, Any], run_id: str) -> dict[str, Any]:
    return next(runs[run_id] for runs in store.values() if run_id in runs)


def _read() -> dict[str, Any]:
    return json.loads(_FILE.read_text()) if _FILE.exists() else {}


def _write(store: dict[str, Any]) -> None:
    _FILE.write_text(json.dumps(store))
