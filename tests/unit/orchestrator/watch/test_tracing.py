"""Spans run > iteration > stage, in one trace over resumes; off unless asked for, and harmless without a collector."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from eva.errors import EvolverError
from eva.settings import Settings
from eva.types import Mutation, Reply
from orchestrator.driver import drive
from orchestrator.launch.registration import register_run
from orchestrator.watch import tracing
from orchestrator.watch.listener import NoListener
from store.rows import RunRow
from store.runs.runs import get_run, set_desired
from store.session import Store
from tests.support.fakes import FakeEvolver, Recorder, always, fake_config, fake_roles

SECRET = "sk-abcdefghijklmnop1234"  # noqa: S105 - what must not be shown


class Failing(FakeEvolver):
    def evolve(self, mutation: Mutation) -> Reply:
        raise EvolverError(f"refused: {SECRET}")


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[ReadableSpan]]:
    """What the collector has of all drivers so far."""
    exporters: list[InMemorySpanExporter] = []

    def exporter_of(environment: object) -> SpanExporter:
        exporters.append(InMemorySpanExporter())
        return exporters[-1]

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://nobody.is.there:4318")
    monkeypatch.setattr(tracing, "exporter_of", exporter_of)
    return lambda: [span for exporter in exporters for span in exporter.get_finished_spans()]


def driven(store: Store, settings: Settings, run: RunRow, listener: Recorder | None = None, **roles: object) -> None:
    with store.transaction() as conn:
        run = get_run(conn, run.id)
    drive(store, settings, run, listener or NoListener(), build=always(fake_roles(**roles)))


def parents(spans: Sequence[ReadableSpan]) -> dict[tuple[str, ...], tuple[str, ...]]:
    by_id = {span.context.span_id: span for span in spans if span.context}
    return {label(span): label(by_id[span.parent.span_id]) if span.parent else () for span in spans}


def label(span: ReadableSpan) -> tuple[str, ...]:
    found = span.attributes or {}
    return span.name, str(found["eva.driver"]), str(found.get("eva.iteration", ""))


def test_stages_are_in_iterations_in_runs_and_a_resumed_run_goes_on_in_its_trace(
    store: Store, store_settings: Settings, exported: Callable[[], list[ReadableSpan]]
) -> None:
    run = register_run(store, fake_config(iterations=2))
    with pytest.raises(EvolverError):
        driven(store, store_settings, run, evolver=Failing())
    first = exported()
    driven(store, store_settings, run)
    spans = exported()
    assert {span.context.trace_id for span in spans if span.context} == {tracing.trace_id(run)}
    one, two = sorted({str((span.attributes or {})["eva.driver"]) for span in spans}, key=int)
    above = parents(spans)
    assert above["run", one, ""] == above["run", two, ""] == ()
    assert above["iteration", one, "0"] == above["iteration", one, "1"] == ("run", one, "")
    assert above["iteration", two, "1"] == ("run", two, "")
    assert above["train", one, "0"] == ("iteration", one, "0")
    assert above["evolve", one, "1"] == ("iteration", one, "1")
    assert above["evolve", two, "1"] == ("iteration", two, "1")
    assert ("judge_pool", two, "1") not in above, "a closed stage is walked through without a span"
    failed = [span for span in first if span.status.status_code is StatusCode.ERROR]
    assert sorted(span.name for span in failed) == ["evolve", "iteration", "run"]
    assert {span.status.description for span in failed if span.name == "evolve"} == {"refused: ***."}
    facts = {label(span): span.attributes or {} for span in spans}
    evolved, again = facts["evolve", one, "1"], facts["evolve", two, "1"]
    assert (evolved["eva.attempt"], evolved["error.type"]) == (1, "EvolverError")
    assert again["eva.attempt"] == 2 and int(str(again["eva.counts.accepted"])) > 0
    assert (facts["run", one, ""]["eva.status"], facts["run", two, ""]["eva.status"]) == ("failed", "finished")
    assert (facts["run", one, ""]["eva.resumed"], facts["run", two, ""]["eva.resumed"]) == (False, True)


def test_a_chunk_of_a_batch_has_a_span_of_its_own_in_each_stage(
    store: Store, store_settings: Settings, exported: Callable[[], list[ReadableSpan]]
) -> None:
    training = {"batch": 4, "epochs": 2, "sync_every": 4}
    driven(store, store_settings, register_run(store, fake_config(iterations=1, training=training)))
    facts = [(span.name, span.attributes or {}) for span in exported()]
    for stage in ("judge_batch", "pair", "train"):
        places = [(of["eva.chunk"], of["eva.chunks"], of["eva.attempt"]) for name, of in facts if name == stage]
        assert places == [(1, 3, 1), (2, 3, 1), (3, 3, 1)], stage
    assert not any("eva.chunk" in of for name, of in facts if name == "evaluate")


def test_children_that_are_evolved_during_the_training_have_a_span_of_the_time_in_which_they_were(
    store: Store, store_settings: Settings, exported: Callable[[], list[ReadableSpan]]
) -> None:
    driven(store, store_settings, register_run(store, fake_config(iterations=2, info_from="reuse")))
    spans = {(span.name, (span.attributes or {}).get("eva.iteration")): span for span in exported()}
    ahead, evolve, train = spans["evolve_ahead", 1], spans["evolve", 1], spans["train", 0]
    assert (ahead.attributes or {})["eva.counts.prompts"] == 6
    assert ahead.parent is not None and ahead.parent == spans["run", None].context
    assert train.start_time and ahead.start_time and ahead.end_time and evolve.end_time
    assert train.start_time <= ahead.start_time <= ahead.end_time <= evolve.end_time


def test_a_run_that_was_asked_to_pause_did_not_fail(
    store: Store, store_settings: Settings, exported: Callable[[], list[ReadableSpan]]
) -> None:
    run = register_run(store, fake_config(iterations=2))

    def pause(iteration: int, stage: str) -> None:
        with store.transaction() as conn:
            set_desired(conn, run.id, "pause")

    with pytest.raises(Exception, match="asked to pause"):
        driven(store, store_settings, run, Recorder(on_close=pause))
    assert {span.status.status_code for span in exported()} == {StatusCode.UNSET}
    (whole,) = [span.attributes or {} for span in exported() if span.name == "run"]
    assert whole["eva.status"] == "paused" and "asked to pause" in str(whole["eva.stopped"])


def test_a_collector_that_is_not_there_does_not_hold_a_run(
    store: Store, store_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(tracing, "FLUSH_S", 0.2)
    run = register_run(store, fake_config(iterations=1))
    driven(store, store_settings, run)
    with store.transaction() as conn:
        assert get_run(conn, run.id).status == "finished"


@pytest.mark.parametrize(
    ("environment", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_the_standard_variables_decide(environment: dict[str, str], on: bool) -> None:
    assert tracing.is_requested(environment) is on


def test_without_them_nothing_of_it_is_even_imported() -> None:
    script = (
        "import sys, orchestrator.stages.stage, orchestrator.watch.tracing\n"
        "print(*(name for name in sys.modules if name.startswith('opentelemetry')))"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == []


def test_a_protocol_that_there_is_not_leaves_the_run_without_traces(
    store: Store, store_settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
    run = register_run(store, fake_config(iterations=1))
    driven(store, store_settings, run)
    assert "OTEL_EXPORTER_OTLP_PROTOCOL is 'http/json'" in caplog.text
