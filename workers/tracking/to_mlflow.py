"""MLflow: params, and metrics over iterations, policies and training steps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from mlflow import MlflowClient  # pyright: ignore[reportMissingImports] - an environment of its own may have it
from mlflow.entities import Metric, Param, RunTag  # pyright: ignore[reportMissingImports] - an environment of its own may have it

STATUSES = {"finished": "FINISHED", "failed": "FAILED", "cancelled": "KILLED", "paused": "SCHEDULED"}
MOST_METRICS, MOST_PARAMS = 1000, 100
"""Limits of one request."""
LONGEST_KEY, LONGEST_VALUE = 250, 6000
IDENTITY = "eva.run"


class MlflowRun:
    """The run with the tag `eva.run`. A point of a metric that exists is not stored twice."""

    def __init__(self, options: dict[str, Any], opening: dict[str, Any]) -> None:
        self._client = MlflowClient(tracking_uri=options["uri"])
        experiment = self._experiment(options["experiment"])
        runs = self._client.search_runs([experiment], f"tags.`{IDENTITY}` = '{opening['identity']}'", max_results=1)
        if runs:
            run = runs[0]
            self._client.update_run(run.info.run_id, status="RUNNING")
        else:
            run = self._client.create_run(experiment, tags={IDENTITY: opening["identity"]}, run_name=opening["name"])
        self._id = run.info.run_id
        params = {key[:LONGEST_KEY]: value[:LONGEST_VALUE] for key, value in flat(opening["config"])}
        # a param that exists cannot change
        new = [Param(key, value) for key, value in params.items() if key not in run.data.params]
        for start in range(0, len(new), MOST_PARAMS):
            self._client.log_batch(self._id, params=new[start : start + MOST_PARAMS])
        self.url = f"experiment {options['experiment']}, run {self._id}"

    def log(self, points: list[dict[str, Any]]) -> None:
        metrics = [
            Metric(name[:LONGEST_KEY], value, point["at_ms"], point["place"])
            for point in points
            for name, value in point["values"].items()
        ]
        for start in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(self._id, metrics=metrics[start : start + MOST_METRICS])

    def close(self, status: str) -> None:
        self._client.log_batch(self._id, tags=[RunTag("eva.status", status)])
        if status in STATUSES:
            self._client.set_terminated(self._id, STATUSES[status])

    def _experiment(self, name: str) -> str:
        if found := self._client.get_experiment_by_name(name):
            return found.experiment_id
        return self._client.create_experiment(name)


def flat(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields dotted keys and their values as text."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value if isinstance(value, str) else json.dumps(value)
