"""Metrics for Prometheus, read from the store when they are asked for: they count on over restarts of the service."""

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
from store.views.run_pages import STATUSES

router = APIRouter(tags=["health"])


class Collected(Collector):
    """What one transaction saw."""

    def __init__(self, conn: Connection) -> None:
        self._metrics = [*_of_all(conn), *_of_playing(gauges.playing(conn))]

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
    """How do all runs do? Sums over the store, and where each run that plays stands, for Prometheus."""
    registry = CollectorRegistry()
    with here.reading() as conn:
        registry.register(Collected(conn))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


_Sum = Callable[[stage_totals.StageSums], float]

_BY_STAGE: dict[str, tuple[str, _Sum]] = {
    "eva_stages_closed": ("Stages that are done.", lambda one: one.closed),
    "eva_stage_seconds": ("Seconds that stages took.", lambda one: one.seconds),
    "eva_stage_retries": ("Attempts of stages after their first.", lambda one: one.retries),
    "eva_stage_units": ("Units that stages finished: prompts, or what the stage counts.", lambda one: one.done),
}
_WHERE_ANY: dict[str, tuple[str, _Sum]] = {
    "eva_responses": ("Responses that engines gave.", lambda one: one.responses),
    "eva_response_tokens": ("Tokens of these responses; their rate is tokens per second.", lambda one: one.tokens),
    "eva_cost_usd": ("Money paid for evolving and rewarding, in dollars.", lambda one: one.cost_usd),
    "eva_engine_seconds": ("Engines x seconds while they were asked for responses.", lambda one: one.engine_ms / 1000),
    "eva_engine_busy_seconds": ("Of these, with a prompt in flight.", lambda one: one.engine_busy_ms / 1000),
    "eva_engine_filled_seconds": (
        "Of these, by the share of the window of prompts that was in flight.",
        lambda one: one.engine_filled_ms / 1000,
    ),
}


def _of_all(conn: Connection) -> list[Metric]:
    stages, statuses = stage_totals.stage_sums(conn), gauges.runs_by_status(conn)
    quarantined = CounterMetricFamily("eva_quarantined_prompts", "Prompts that a policy could not answer.")
    quarantined.add_metric([], sum(one.quarantined for one in stages))
    evolved = CounterMetricFamily("eva_evolved_prompts", "Children that evolving accepted.")
    evolved.add_metric([], sum(one.accepted for one in stages))
    return [
        _gauge(
            "eva_runs",
            "Runs by stored status.",
            "status",
            {status: statuses.get(status, 0) for status in STATUSES if status != "interrupted"},
        ),
        *(
            _counter(name, text, "stage", {one.name: summed(one) for one in stages})
            for name, (text, summed) in _BY_STAGE.items()
        ),
        *(
            _counter(name, text, "stage", {one.name: sum_ for one in stages if (sum_ := summed(one))})
            for name, (text, summed) in _WHERE_ANY.items()
        ),
        evolved,
        quarantined,
        _counter("eva_incidents", "What went wrong, or came back, by kind of event.", "kind", gauges.incidents(conn)),
    ]


def _of_playing(runs: Sequence[gauges.Playing]) -> list[Metric]:
    done, total = (
        GaugeMetricFamily(f"eva_run_stage_{name}", text, labels=["run", "stage"])
        for name, text in (
            ("done", "Units that the open stage of a playing run has finished."),
            ("total", "Units that it has."),
        )
    )
    for run in runs:
        if run.stage:
            done.add_metric([run.name, run.stage], run.done)
            total.add_metric([run.name, run.stage], run.total)
    return [
        _gauge("eva_run_iteration", "Which iteration a run plays.", "run", {run.name: run.iteration for run in runs}),
        _gauge("eva_run_iterations", "How many it will play.", "run", {run.name: run.iterations for run in runs}),
        _gauge("eva_run_prompts", "Prompts that it has.", "run", {run.name: run.prompts for run in runs}),
        _gauge("eva_run_engines", "Engines that its config asks for.", "run", {run.name: run.engines for run in runs}),
        _gauge(
            "eva_run_lease_seconds",
            "For how long its driver's lease still is; negative: it expired.",
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
