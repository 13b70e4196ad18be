"""Metrics for Prometheus. They are read from the store on request, so they survive restarts of the service."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection

from api.service import Here
from store.runs import stage_totals
from store.views import gauges
from store.views.run_lists.pages import STATUSES

router = APIRouter(tags=["health"])


class Collected(Collector):
    """The metrics that one transaction has read."""

    def __init__(self, conn: Connection) -> None:
        self._metrics = [*_of_all(conn), *_of_playing(gauges.running_runs(conn))]

    def collect(self) -> Iterable[Metric]:
        return self._metrics


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "content": {"text/plain": {"schema": {"type": "string"}}},
            "description": "Metrics in Prometheus' text format.",
        }
    },
)
def get_prometheus_metrics(here: Here) -> Response:
    """Metrics of all runs for Prometheus: sums over the store, and the progress of each playing run."""
    registry = CollectorRegistry()
    with here.reading() as conn:
        registry.register(Collected(conn))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


_Sum = Callable[[stage_totals.StageSums], float]

_BY_STAGE: dict[str, tuple[str, _Sum]] = {
    "eva_stages_closed": ("Stages that are done.", lambda sums: sums.closed),
    "eva_stage_seconds": ("Seconds that stages took.", lambda sums: sums.seconds),
    "eva_stage_retries": ("Attempts of stages after their first.", lambda sums: sums.retries),
    "eva_stage_units": ("Units that stages finished: prompts, or whatever the stage counts.", lambda sums: sums.done),
}
_BY_STAGE_IF_ANY: dict[str, tuple[str, _Sum]] = {
    "eva_responses": ("Responses that engines generated.", lambda sums: sums.responses),
    "eva_response_tokens": ("Tokens of these responses; the rate is tokens per second.", lambda sums: sums.tokens),
    "eva_cost_usd": ("Cost of evolving and rewarding, in US dollars.", lambda sums: sums.cost_usd),
    "eva_engine_seconds": (
        "Engine seconds: engines times the seconds in which they were generating or waiting for prompts.",
        lambda sums: sums.engine_ms / 1000,
    ),
    "eva_engine_busy_seconds": (
        "Engine seconds with at least one prompt in flight.",
        lambda sums: sums.engine_busy_ms / 1000,
    ),
    "eva_engine_filled_seconds": (
        "Engine seconds, weighted by the share of the window of prompts that was in flight.",
        lambda sums: sums.engine_filled_ms / 1000,
    ),
}


def _of_all(conn: Connection) -> list[Metric]:
    stages, statuses = stage_totals.stage_sums(conn), gauges.runs_by_status(conn)
    quarantined = CounterMetricFamily("eva_quarantined_prompts", "Prompts that a policy could not respond to.")
    quarantined.add_metric([], sum(sums.quarantined for sums in stages))
    evolved = CounterMetricFamily("eva_evolved_prompts", "Children that were accepted.")
    evolved.add_metric([], sum(sums.accepted for sums in stages))
    return [
        _gauge(
            "eva_runs",
            "Runs by stored status.",
            "status",
            {status: statuses.get(status, 0) for status in STATUSES if status != "interrupted"},
        ),
        *(
            _counter(name, text, "stage", {sums.name: read(sums) for sums in stages})
            for name, (text, read) in _BY_STAGE.items()
        ),
        *(
            _counter(name, text, "stage", {sums.name: total for sums in stages if (total := read(sums))})
            for name, (text, read) in _BY_STAGE_IF_ANY.items()
        ),
        evolved,
        quarantined,
        _counter("eva_incidents", "Incidents and recoveries, by kind of event.", "kind", gauges.incidents(conn)),
    ]


def _of_playing(runs: Sequence[gauges.RunningRun]) -> list[Metric]:
    done, total = (
        GaugeMetricFamily(f"eva_run_stage_{name}", text, labels=["run", "stage"])
        for name, text in (
            ("done", "Finished units of a playing run's open stage."),
            ("total", "All units of that stage."),
        )
    )
    for run in runs:
        if run.stage:
            done.add_metric([run.name, run.stage], run.done)
            total.add_metric([run.name, run.stage], run.total)
    return [
        _gauge(
            "eva_run_iteration",
            "The iteration that a run is playing.",
            "run",
            {run.name: run.iteration for run in runs},
        ),
        _gauge(
            "eva_run_iterations", "How many iterations it will play.", "run", {run.name: run.iterations for run in runs}
        ),
        _gauge("eva_run_prompts", "How many prompts it has.", "run", {run.name: run.prompts for run in runs}),
        _gauge(
            "eva_run_engines", "How many engines its config asks for.", "run", {run.name: run.engines for run in runs}
        ),
        _gauge(
            "eva_run_lease_seconds",
            "Seconds until its driver's lease expires; negative: it has expired.",
            "run",
            {run.name: run.lease_s for run in runs},
        ),
        done,
        total,
    ]


def _gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    return _filled(GaugeMetricFamily(name, text, labels=[label]), values)


def _counter(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    return _filled(CounterMetricFamily(name, text, labels=[label]), values)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[str, float]) -> Metric:
    for value, number in values.items():
        family.add_metric([value], number)
    return family
