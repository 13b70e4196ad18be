"""Metrics for Prometheus, read from the store when they are asked for: they count on over restarts of the service."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection

from api.service import Here
from store import gauges
from store.run_pages import STATUSES

router = APIRouter(tags=["health"])


class Collected(Collector):
    """What one transaction saw."""

    def __init__(self, conn: Connection) -> None:
        self._metrics = [*_of_all(conn), *_of_playing(gauges.playing(conn))]

    def collect(self) -> Iterable[Metric]:
        return self._metrics


@router.get("/metrics", response_class=Response,
            responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}},
                             "description": "Metrics in Prometheus' text format."}})
def get_prometheus_metrics(here: Here) -> Response:
    """How do all runs do? Sums over the store, and where each run that plays stands, for Prometheus."""
    registry = CollectorRegistry()
    with here.reading() as conn:
        registry.register(Collected(conn))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


def _of_all(conn: Connection) -> list[Metric]:
    stages, statuses = gauges.stage_sums(conn), gauges.runs_by_status(conn)
    quarantined = CounterMetricFamily("eva_quarantined_prompts", "Prompts that a policy could not answer.")
    quarantined.add_metric([], gauges.quarantined(conn))
    return [
        _gauge("eva_runs", "Runs by stored status.", "status",
               {status: statuses.get(status, 0) for status in STATUSES if status != "interrupted"}),
        _counter("eva_stages_closed", "Stages that are done.", "stage", {one.name: one.closed for one in stages}),
        _counter("eva_stage_seconds", "Seconds that stages took.", "stage", {one.name: one.seconds for one in stages}),
        _counter("eva_stage_retries", "Attempts of stages after their first.", "stage",
                 {one.name: one.retries for one in stages}),
        _counter("eva_stage_units", "Units that stages finished: prompts, or what the stage counts.", "stage",
                 {one.name: one.done for one in stages}),
        _counter("eva_responses", "Responses that engines gave.", "stage",
                 {one.name: one.responses for one in stages if one.responses}),
        _counter("eva_response_tokens", "Tokens of these responses; their rate is tokens per second.", "stage",
                 {one.name: one.tokens for one in stages if one.tokens}),
        _counter("eva_cost_usd", "Money paid for evolving prompts, in dollars.", "stage",
                 {one.name: one.cost_usd for one in stages if one.cost_usd}),
        quarantined,
        _counter("eva_incidents", "What went wrong, or came back, by kind of event.", "kind", gauges.incidents(conn)),
    ]


def _of_playing(runs: Sequence[gauges.Playing]) -> list[Metric]:
    done, total = (GaugeMetricFamily(f"eva_run_stage_{name}", text, labels=["run", "stage"]) for name, text in (
        ("done", "Units that the open stage of a playing run has finished."), ("total", "Units that it has.")))
    for run in runs:
        if run.stage:
            done.add_metric([run.name, run.stage], run.done)
            total.add_metric([run.name, run.stage], run.total)
    return [
        _gauge("eva_run_iteration", "Which iteration a run plays.", "run", {run.name: run.iteration for run in runs}),
        _gauge("eva_run_iterations", "How many it will play.", "run", {run.name: run.iterations for run in runs}),
        _gauge("eva_run_prompts", "Prompts that it has.", "run", {run.name: run.prompts for run in runs}),
        _gauge("eva_run_lease_seconds", "For how long its driver's lease still is; negative: it expired.", "run",
               {run.name: run.lease_s for run in runs}),
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
