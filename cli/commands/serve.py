"""`eva serve`: serves the dashboard and the REST API on this machine."""

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

from cli.service_launcher import launcher_service
from cli.store_access import has_database, store_of
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
    help="The address to listen on. Beyond loopback, clients need keys (`eva keys create`).",
)
@click.option(
    "--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="The port; 0 takes a free one."
)
@click.option("--require-keys", is_flag=True, help="Require API keys on a loopback address too.")
@click.option(
    "--log-format",
    type=click.Choice(FORMS),
    help="Log format of this service (on standard error) and of the runs that it launches: text, or one JSON object "
    "per line. [default: EVA_LOG_FORMAT, or text]",
)
def serve(host: str, port: int, require_keys: bool, log_format: Form | None) -> None:
    """Serve the dashboard (docs/dashboard.md) and the REST API, which launches and shows runs (docs/reference/api.md).

    By default only this machine can reach it. The runs it launches play on the Ray cluster at RAY_ADDRESS, or on one
    that it starts here at the first launch. Ctrl-C ends the service and the cluster it started; runs that were playing
    there can be resumed.
    """
    settings = read_settings()
    settings = replace(settings, log_format=log_format or settings.log_format)
    needs_keys = require_keys or not is_loopback(host) or bool(settings.hosts)
    if needs_keys and not has_database(settings):
        raise _no_keys(host, settings)
    with write_logs_to(sys.stderr, settings.log_format), store_of(settings) as store:
        if needs_keys:
            _require_keys(store, host, settings)
        with listening_socket(host, port) as sock:
            _serve(store, settings, sock, host, needs_keys=needs_keys)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
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
    why = "--require-keys is set" if is_loopback(host) else f"other machines can reach --host {host}"
    if is_loopback(host) and settings.hosts:
        why = f"EVA_HOSTS names {', '.join(settings.hosts)}, so other machines can reach this service"
    return InputError(
        f"{why}, but there is no valid API key",
        expected="a key, created with `eva keys create NAME --scope write`",
        next_move="Create one, or listen on 127.0.0.1 and connect with `ssh -L 8377:127.0.0.1:8377 THIS-MACHINE`",
    )


def listening_socket(host: str, port: int) -> socket.socket:
    """A listening socket; opened before the address is printed, so that early requests wait instead of failing."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns off Nagle's algorithm only if the protocol is named; else each response takes 40 ms longer
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
        sock.listen(128)
    except OSError as error:
        sock.close()
        raise InputError(
            f"cannot listen on {host} port {port}: {(error.strerror or str(error)).lower()}",
            expected="a free port",
            next_move="Choose another with --port (0 takes any); maybe `eva serve` is running already",
        ) from error
    return sock


def _serve(store: Store, settings: Settings, sock: socket.socket, host: str, *, needs_keys: bool) -> None:
    import uvicorn

    from api.main import create_app
    from api.security.access import Access
    from api.security.guards import Guards
    from api.service import Service
    from orchestrator.hold.interrupts import interrupt_handlers
    from orchestrator.launch.check_process import MODULE, CheckProcesses
    from orchestrator.webhooks.sender import sending
    from workers.cluster.environment import cluster_environment, python_module

    # a client that leaves in the middle of an event is not worth a log line
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    checks = CheckProcesses(python_module(MODULE), cluster_environment({}))
    access = Access(store) if needs_keys else None
    service = Service(store, settings, lambda: server.should_exit, access=access, check=checks.run)
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
    _greet(
        store, settings, f"http://{f'[{host}]' if ':' in host else host}:{sock.getsockname()[1]}", needs_keys=needs_keys
    )
    # uvicorn shuts down cleanly at either signal and then raises it again; only the store is left to close
    told = sending(store, settings.webhook_networks)
    with checks, told, launcher_service(store, settings), interrupt_handlers(), suppress(KeyboardInterrupt):
        asyncio.run(server.serve(sockets=[sock]))


def allowed_hosts(host: str, settings: Settings) -> set[str]:
    """The host names that requests may use, so that a web page cannot point a name of its own at this service."""
    from api.security.guards import LOOPBACK

    names = {*LOOPBACK, *settings.hosts}
    if not is_loopback(host):
        names |= {host.lower(), socket.gethostname().lower()}
        names |= {
            address.address.partition("%")[0]
            for addresses in psutil.net_if_addrs().values()
            for address in addresses
            if address.family in (socket.AF_INET, socket.AF_INET6)
        }
    return names


def _greet(store: Store, settings: Settings, address: str, *, needs_keys: bool) -> None:
    curl = "curl -H 'Authorization: Bearer eva_…'" if needs_keys else "curl"
    click.echo(f"eva is listening at {address}  (data {settings.data_dir}, database {store.url})")
    click.echo(f"  dashboard: open {address}/ in a browser")
    click.echo(f"  eva submit playground --url {address}")
    click.echo(f"  {curl} -d '{{\"preset\": \"playground\"}}' -H 'Content-Type: application/json' {address}/v1/runs")
    click.echo(f"  {curl} {address}/v1/runs/last")
    click.echo(f"  {curl} -N {address}/v1/runs/last/events/stream")
    click.echo(f"  {curl} {address}/v1/openapi.json   (to read and to try: {address}/docs)")
    if needs_keys:
        click.echo(
            f"Clients need API keys (`eva keys`); browsers sign in at {address}/login. The connection is plain HTTP: "
            "outside a trusted network, put a proxy with TLS in front."
        )
    click.echo("Press Ctrl-C to stop.")
