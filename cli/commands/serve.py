"""`eva serve`: the dashboard and the REST API on this machine."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import sys
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import click
import psutil

from cli.service_launcher import launching
from cli.store_access import has_database, opened
from eva.errors import InputError
from eva.runtime.logs import FORMS, Form, write_logs_to
from eva.settings import Settings, read_settings

if TYPE_CHECKING:
    from store.session import Store

HOST, PORT = "127.0.0.1", 8377
STOP_S = 3


@click.command()
@click.option(
    "--host",
    default=HOST,
    show_default=True,
    help="Address of this machine to listen at. Beyond loopback, clients need keys (`eva keys create`).",
)
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0 takes a free one.")
@click.option("--require-keys", is_flag=True, help="Ask for keys at a loopback address, too.")
@click.option(
    "--log-format",
    type=click.Choice(FORMS),
    help="How this service (to standard error) and the runs that it launches write their logs: for people, "
    "or one JSON object per line. [default: EVA_LOG_FORMAT, else text]",
)
def serve(host: str, port: int, require_keys: bool, log_format: Form | None) -> None:
    """Serve the dashboard (docs/dashboard.md), and the REST API: launch runs and look at them (docs/reference/api.md).

    It listens on this machine alone unless told otherwise. Runs that it launches play in the Ray cluster at
    RAY_ADDRESS, or in one that it starts here at the first launch. Ctrl-C ends it and the cluster that it has
    started; runs that played there can be resumed.
    """
    settings = read_settings()
    settings = replace(settings, log_format=log_format or settings.log_format)
    asks = require_keys or not is_loopback(host) or bool(settings.hosts)
    if asks and not has_database(settings):
        raise _no_keys(host, settings)
    with write_logs_to(sys.stderr, settings.log_format), opened(settings) as store:
        if asks:
            _require_keys(store, host, settings)
        with listening(host, port) as sock:
            _serve(store, settings, sock, host, asks=asks)


def is_loopback(host: str) -> bool:
    """Is this an address that only this machine reaches?"""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _require_keys(store: Store, host: str, settings: Settings) -> None:
    from store.runs.api_keys import live_keys

    with store.transaction() as conn:
        if not live_keys(conn):
            raise _no_keys(host, settings)


def _no_keys(host: str, settings: Settings) -> InputError:
    why = "--require-keys asks for keys" if is_loopback(host) else f"--host {host} may be reached from other machines"
    if is_loopback(host) and settings.hosts:
        why = f"EVA_HOSTS names {', '.join(settings.hosts)}, so others may reach this service"
    return InputError(
        f"{why}, and there are no valid API keys",
        expected="a key, made with `eva keys create NAME --scope write`",
        next_move="Make one; or listen at 127.0.0.1 and come through `ssh -L 8377:127.0.0.1:8377 THIS-MACHINE`",
    )


def listening(host: str, port: int) -> socket.socket:
    """Open before anything is printed, so that the address is true and who calls at once is answered soon."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # named TCP, asyncio sends at once; else each answer waits 40 ms for the acknowledgement of its own head
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(128)
    except OSError as error:
        sock.close()
        raise InputError(
            f"nothing can listen at {host} port {port}: {(error.strerror or str(error)).lower()}",
            expected="a free port",
            next_move="Give another with --port, or 0 for any; perhaps `eva serve` runs already",
        ) from error
    return sock


def _serve(store: Store, settings: Settings, sock: socket.socket, host: str, *, asks: bool) -> None:
    import uvicorn

    from api.main import create_app
    from api.security.access import Access
    from api.security.guards import Guards
    from api.service import Service
    from orchestrator.hold.interrupts import interruptible

    # a listener that leaves in the middle of an event is no news
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    service = Service(store, settings, lambda: server.should_exit, access=Access(store) if asks else None)
    config = uvicorn.Config(
        Guards(create_app(service), hosts=allowed_hosts(host, settings), access=service.access),
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=STOP_S,
    )
    server = uvicorn.Server(config)
    _greet(store, settings, f"http://{f'[{host}]' if ':' in host else host}:{sock.getsockname()[1]}", asks=asks)
    # uvicorn ends in good order at either signal, and then raises it again: by then all is done but to close the store
    with launching(store, settings), interruptible(), suppress(KeyboardInterrupt):
        asyncio.run(server.serve(sockets=[sock]))


def allowed_hosts(host: str, settings: Settings) -> set[str]:
    """The names under which the service may be asked: no page can point a name of its own choice at it."""
    from api.security.guards import LOOPBACK

    names = {*LOOPBACK, *settings.hosts}
    if not is_loopback(host):
        names |= {host.lower(), socket.gethostname().lower()}
        names |= {
            one.address.partition("%")[0]
            for found in psutil.net_if_addrs().values()
            for one in found
            if one.family in (socket.AF_INET, socket.AF_INET6)
        }
    return names


def _greet(store: Store, settings: Settings, address: str, *, asks: bool) -> None:
    curl = "curl -H 'Authorization: Bearer eva_…'" if asks else "curl"
    click.echo(f"eva listens at {address}  (data {settings.data_dir}, database {store.url})")
    click.echo(f"  {address}/ in a browser: the dashboard")
    click.echo(f"  eva submit playground --url {address}")
    click.echo(f"  {curl} -d '{{\"preset\": \"playground\"}}' -H 'Content-Type: application/json' {address}/v1/runs")
    click.echo(f"  {curl} {address}/v1/runs/last")
    click.echo(f"  {curl} -N {address}/v1/runs/last/events/stream")
    click.echo(f"  {curl} {address}/v1/openapi.json")
    if asks:
        click.echo(
            f"It asks for keys (`eva keys`); browsers log in at {address}/login. It speaks plain HTTP: beyond a "
            "trusted network, put a proxy with TLS in front."
        )
    click.echo("Ctrl-C ends it.")
