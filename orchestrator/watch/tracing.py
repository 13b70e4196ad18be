"""OpenTelemetry spans, run > iteration > stage. Only exported if the standard variables name a collector.

The trace's id is derived from the run, so a resumed run adds to the same trace; each driver has its own span "run"
there. A thread of the SDK exports the spans in batches, and drops those that it cannot deliver.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol, cast

from eva.errors import RunStoppedError
from eva.runtime.redaction import known_secrets, redact
from eva.solver.chunks import Chunk
from store.rows import RunRow

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
FLUSH_S = 5.0
"""How long a driver waits for the collector when it ends."""

log = logging.getLogger(__name__)


class StageSpan(Protocol):
    """The span of an open stage."""

    def set_counts(self, counts: Mapping[str, object]) -> None:
        """Records the counts of the stage, which is complete."""
        ...


class Spans(Protocol):
    """Receives the events of a run that become spans. Called on the driver's main thread."""

    def stage(
        self, iteration: int, name: str, attempt: int, total: int, chunk: Chunk | None = None
    ) -> AbstractContextManager[StageSpan]:
        """The span of a stage while it is open. The first stage of an iteration opens the iteration's span.

        A `chunk` of a batch has a span of its own in each of the stages that it goes through.
        """
        ...

    def add_past(self, name: str, iteration: int, began_ns: int, ended_ns: int, counts: Mapping[str, object]) -> None:
        """Adds the span of work for an iteration that was done, beside the stages, before the iteration began."""
        ...

    def end_iteration(self) -> None:
        """Ends the iteration's span; the iteration is stored as finished."""
        ...

    def set_status(self, status: str) -> None:
        """Records the status of the run."""
        ...


class NoSpans:
    """Records nothing."""

    def stage(
        self, iteration: int, name: str, attempt: int, total: int, chunk: Chunk | None = None
    ) -> AbstractContextManager[StageSpan]:
        del iteration, name, attempt, total, chunk
        return nullcontext(self)

    def set_counts(self, counts: Mapping[str, object]) -> None:
        del counts

    def add_past(self, name: str, iteration: int, began_ns: int, ended_ns: int, counts: Mapping[str, object]) -> None:
        del name, iteration, began_ns, ended_ns, counts

    def end_iteration(self) -> None: ...

    def set_status(self, status: str) -> None:
        del status


class _StageSpan:
    def __init__(self, span: Span) -> None:
        self._span = span

    def set_counts(self, counts: Mapping[str, object]) -> None:
        for name, value in counts.items():
            if isinstance(value, Mapping):
                inner = cast("Mapping[str, object]", value)
                self.set_counts({f"{name}.{key}": number for key, number in inner.items()})
            elif isinstance(value, bool | int | float | str):
                self._span.set_attribute(f"eva.counts.{name}", value)


class OtelSpans:
    """The spans of one driver. The span of the run is open from the beginning."""

    def __init__(self, tracer: Tracer, run: RunRow, driver: int) -> None:
        self._tracer, self._fields = tracer, {"eva.run": run.name, "eva.run.id": run.id, "eva.driver": driver}
        self._run = self._start_span(
            "run",
            None,
            {"eva.resumed": run.started_at is not None, "eva.iterations": int(run.config.get("iterations", 0))},
        )
        self._iteration: Span | None = None
        self._number = -1

    @contextmanager
    def stage(
        self, iteration: int, name: str, attempt: int, total: int, chunk: Chunk | None = None
    ) -> Generator[StageSpan]:
        if self._iteration is None or self._number != iteration:
            self.end_iteration()
            self._iteration = self._start_span("iteration", self._run, {"eva.iteration": iteration})
            self._number = iteration
        span = self._start_span(
            name,
            self._iteration,
            {
                "eva.iteration": iteration,
                "eva.stage": name,
                "eva.attempt": attempt,
                "eva.total": total,
                **({} if chunk is None else {"eva.chunk": chunk.number + 1, "eva.chunks": chunk.of}),
            },
        )
        try:
            yield _StageSpan(span)
        except BaseException as error:
            _failed(span, error)
            raise
        finally:
            span.end()

    def add_past(self, name: str, iteration: int, began_ns: int, ended_ns: int, counts: Mapping[str, object]) -> None:
        span = self._start_span(name, self._run, {"eva.iteration": iteration}, began_ns)
        _StageSpan(span).set_counts(counts)
        span.end(ended_ns)

    def end_iteration(self) -> None:
        if self._iteration is not None:
            self._iteration.end()
            self._iteration = None

    def set_status(self, status: str) -> None:
        self._run.set_attribute("eva.status", status)

    def end(self, error: BaseException | None) -> None:
        """Ends all open spans, because the driver ends; marks them as failed if `error` says so."""
        for span in (self._iteration, self._run):
            if span is not None and error is not None:
                _failed(span, error)
        self.end_iteration()
        self._run.end()

    def _start_span(
        self, name: str, parent: Span | None, attributes: Mapping[str, Any], began_ns: int | None = None
    ) -> Span:
        from opentelemetry.context import Context
        from opentelemetry.trace import set_span_in_context

        context = Context() if parent is None else set_span_in_context(parent, Context())
        return self._tracer.start_span(
            name, context=context, attributes={**self._fields, **attributes}, start_time=began_ns
        )


@contextmanager
def tracing(run: RunRow, driver: int) -> Generator[Spans]:
    """The spans of this driver, the `driver`-th of the run. Only exported if the environment names a collector."""
    provider = _provider(run) if is_requested(os.environ) else None
    if provider is None:
        yield NoSpans()
        return
    spans = OtelSpans(provider.get_tracer("eva"), run, driver)
    try:
        yield spans
    except BaseException as error:
        spans.end(error)
        raise
    else:
        spans.end(None)
    finally:
        # the SDK may wait for its collector for longer than a run should
        last = threading.Thread(target=provider.shutdown, name="tracing ends", daemon=True)
        last.start()
        last.join(FLUSH_S)


def is_requested(environment: Mapping[str, str]) -> bool:
    """Do the standard variables name a collector of spans, and does none of them disable it?"""
    off = (
        environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
        or environment.get("OTEL_TRACES_EXPORTER", "").lower() == "none"
    )
    return not off and any(environment.get(name) for name in ENDPOINTS)


def _provider(run: RunRow) -> Any:
    """The SDK. None, with a warning, if it is not installed or cannot do what the environment asks for."""
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

        class OfRun(RandomIdGenerator):
            def generate_trace_id(self) -> int:
                return trace_id(run)

        named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        provider = TracerProvider(
            id_generator=OfRun(),
            shutdown_on_exit=False,
            resource=Resource.create({} if named else {"service.name": "eva"}),
        )
        provider.add_span_processor(BatchSpanProcessor(exporter_of(os.environ)))
        return provider
    except (ImportError, ValueError) as error:
        log.warning("this run is not traced: %s", error)
        return None


def trace_id(run: RunRow) -> int:
    """Returns the id of a run's trace, which is made from the run's identity."""
    return int(run.identity, 16)


def exporter_of(environment: Mapping[str, str]) -> SpanExporter:
    """Returns the exporter for the protocol in the standard variables, `http/protobuf` if unset.

    Raises ValueError for an unknown protocol.
    """
    protocol = (
        environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "http/protobuf"
    )
    if protocol == "http/protobuf":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter()
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as OverGrpc

        return OverGrpc()
    raise ValueError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}; expected http/protobuf or grpc")


def _failed(span: Span, error: BaseException) -> None:
    """Marks a span as failed, or as stopped if somebody asked the run to stop."""
    from opentelemetry.trace import Status, StatusCode

    message = redact(str(error), known_secrets())
    if isinstance(error, RunStoppedError | KeyboardInterrupt):
        span.set_attribute("eva.stopped", message or "interrupted")
        return
    span.set_attribute("error.type", type(error).__name__)
    span.set_status(Status(StatusCode.ERROR, message[:2000]))
