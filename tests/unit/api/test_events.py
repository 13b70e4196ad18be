"""Events arrive once each and in order, over pages, streams and broken connections."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator

import httpx
import pytest

from api.events import stream as streaming
from api.service import Service, Streams
from eva.settings import Settings
from store.runs.events import append_event
from store.runs.runs import create_run, set_status
from store.session import Store
from tests.support.service_fixtures import Served, serving


def begun(store: Store) -> tuple[int, str]:
    with store.transaction() as conn:
        run = create_run(conn, stem="r", config={"iterations": 1}, config_hash="h", seed=1)
        set_status(conn, run.id, "running")
        return run.id, f"/v1/runs/{run.name}/events"


def tell(store: Store, run_id: int, *kinds: str) -> None:
    for kind in kinds:
        with store.transaction() as conn:
            append_event(conn, run_id, kind)


def end(store: Store, run_id: int) -> None:
    with store.transaction() as conn:
        set_status(conn, run_id, "finished")
        append_event(conn, run_id, "finished")


def listen(served: Served, path: str, last: int | None = None) -> Generator[tuple[int, str]]:
    """(id, kind) of each event, until the server ends the stream."""
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    with served.client.stream("GET", f"{path}/stream", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        number = 0
        for line in answer.iter_lines():
            if line.startswith("id: "):
                number = int(line[4:])
            elif line.startswith("data: "):
                yield number, json.loads(line[6:])["kind"]


def test_events_come_in_pages_after_a_number(served: Served) -> None:
    run_id, path = begun(served.service.store)
    tell(served.service.store, run_id, "a", "b", "c")
    page = served.client.get(path, params={"limit": 2}).json()
    assert ([one["kind"] for one in page["items"]], page["last"]) == (["a", "b"], 2)
    rest = served.client.get(path, params={"after": page["last"]}).json()
    assert ([one["kind"] for one in rest["items"]], rest["last"]) == (["c"], 3)
    assert served.client.get(path, params={"after": 3}).json() == {"items": [], "last": 3}


def test_a_stream_sends_past_and_new_events_until_the_run_is_over(served: Served) -> None:
    run_id, path = begun(served.service.store)
    tell(served.service.store, run_id, "a", "b")
    found: list[tuple[int, str]] = []
    events = listen(served, path)
    found += [next(events), next(events)]
    tell(served.service.store, run_id, "c")
    found.append(next(events))
    end(served.service.store, run_id)
    found += events
    assert found == [(1, "a"), (2, "b"), (3, "c"), (4, "finished")]
    assert served.client.get(f"{path}/stream", headers={"Last-Event-ID": "4"}).status_code == 204


def test_a_client_that_reconnects_often_misses_no_event_and_gets_none_twice(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "POLL_S", 0.001)
    run_id, path = begun(served.service.store)
    kinds = [f"event {number}" for number in range(60)]

    def write() -> None:
        tell(served.service.store, run_id, *kinds)
        end(served.service.store, run_id)

    writer = threading.Thread(target=write)
    writer.start()
    seen: list[tuple[int, str]] = []
    while not seen or seen[-1][1] != "finished":
        events = listen(served, path, seen[-1][0] if seen else None)
        for _ in range(7):
            if (one := next(events, None)) is None:
                break
            seen.append(one)
        events.close()
    writer.join()
    assert seen == [*enumerate([*kinds, "finished"], 1)]


def test_a_silent_stream_is_kept_alive(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "KEEP_ALIVE_S", 0.0)
    monkeypatch.setattr(streaming, "POLL_S", 0.001)
    _, path = begun(served.service.store)
    with served.client.stream("GET", f"{path}/stream") as answer:
        lines = answer.iter_lines()
        assert next(lines) == f"retry: {streaming.RETRY_MS}"
        assert next(line for line in lines if line) == ": still here"


def test_streams_are_limited_and_a_closed_one_makes_room(store: Store, store_settings: Settings) -> None:
    service = Service(store, store_settings, streams=Streams(most=2))
    _, path = begun(store)
    with serving(service) as started:
        first = started.client.send(started.client.build_request("GET", f"{path}/stream"), stream=True)
        second = started.client.send(started.client.build_request("GET", f"{path}/stream"), stream=True)
        refused = started.client.get(f"{path}/stream")
        assert (refused.status_code, refused.json()["type"]) == (429, "urn:eva:problem:busy")
        assert started.client.get(path).status_code == 200, "pages need no stream"
        first.close()
        with httpx.Client(base_url=started.url, timeout=60) as other:
            while (again := other.send(other.build_request("GET", f"{path}/stream"), stream=True)).status_code == 429:
                again.close()
            assert again.status_code == 200
            again.close()
        second.close()


def test_a_stream_of_an_unknown_run_is_refused_and_not_counted_as_open(served: Served) -> None:
    answer = served.client.get("/v1/runs/none-such/events/stream")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert not served.service.streams.open
