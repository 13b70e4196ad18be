"""The service over a real database, reached through a real socket."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from eva.settings import Settings
from store.postgres.embedded import EmbeddedServer
from store.session import Store, open_store
from tests.support.cli_fixtures import Played

if TYPE_CHECKING:
    import httpx
    from starlette.types import ASGIApp

    from api.service import Service


@dataclass(frozen=True)
class Served:
    """A running service: ask it with `client`."""

    client: httpx.Client
    service: Service
    url: str


@contextmanager
def serving(service: Service) -> Generator[Served]:
    """The service, served as `eva serve` does."""
    import httpx

    from api.main import create_app
    from api.security.guards import Guards

    with (
        listening_to(Guards(create_app(service), access=service.access)) as url,
        httpx.Client(base_url=url, timeout=60, trust_env=False) as client,
    ):
        yield Served(client, service, url)


@contextmanager
def listening_to(app: ASGIApp) -> Generator[str]:
    """A server on a free port, in a thread of this process: its address."""
    import uvicorn

    sock = socket.socket(proto=socket.IPPROTO_TCP)
    sock.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[sock])))
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        sock.close()


@pytest.fixture
def served(store: Store, store_settings: Settings) -> Iterator[Served]:
    """The service over a fresh database."""
    from api.service import Service

    with serving(Service(store, store_settings)) as started:
        yield started


@pytest.fixture(scope="session")
def played_service(played: Played) -> Iterator[Served]:
    """The service over the finished run that all tests may look at."""
    from api.service import Service

    with serving(Service(played.store, played.settings)) as started:
        yield started


@dataclass(frozen=True)
class Pair:
    """A service over two finished runs that differ in their seed and in one key of the config."""

    served: Served
    names: tuple[str, str]


@pytest.fixture(scope="session")
def pair_service(postgres: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """The service over two finished runs of one set of seed prompts that all tests may look at."""
    from api.service import Service
    from tests.support.played_run import play_run, playground_config
    from tests.support.store_fixtures import fresh_database

    with fresh_database(postgres) as url:
        settings = Settings(tmp_path_factory.mktemp("pair"), url, None)
        store = open_store(settings)
        small = ("prompts.playground=12", "evaluation.playground=8", "iterations=2")
        names = [
            play_run(store, settings, playground_config(*small, f"pairs.min_margin={margin}")).name
            for margin in (0, 0.2)
        ]
        with serving(Service(store, settings)) as started:
            yield Pair(started, (names[0], names[1]))
        store.close()


@pytest.fixture(scope="session")
def study_service(postgres: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The service over a small study (tests.support.played_study) that all tests may look at."""
    from api.service import Service
    from tests.support.played_study import play_study_on_fakes
    from tests.support.store_fixtures import fresh_database

    with fresh_database(postgres) as url:
        settings = Settings(tmp_path_factory.mktemp("study"), url, None)
        store = open_store(settings)
        play_study_on_fakes(store, settings)
        with serving(Service(store, settings)) as started:
            yield started
        store.close()


def await_export(served: Served, run: str, kind: str, form: str) -> Any:
    """Asks for an export, and waits until it is written."""
    asked = served.client.post(f"/v1/runs/{run}/exports", json={"kind": kind, "format": form})
    assert asked.status_code == 202, asked.text
    return awaited(served, asked.headers["location"])


def awaited(served: Served, location: str) -> Any:
    """The export there, when it is written."""
    while (found := served.client.get(location).json())["status"] in ("waiting", "running"):
        time.sleep(0.02)
    return found
