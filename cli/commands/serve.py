"""`eva serve`: the REST API on this machine."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from cli.opening import opened
from eva.errors import InputError
from eva.settings import Settings, read_settings

if TYPE_CHECKING:
    from store.session import Store

HOST, PORT = "127.0.0.1", 8377
STOP_S = 3


@click.command()
@click.option("--host", default=HOST, show_default=True, help="Address of this machine to listen at: a loopback one.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0 takes a free one.")
def serve(host: str, port: int) -> None:
    """Serve the REST API: look at runs with curl or a program (docs/reference/api.md).

    It listens on this machine alone. Ctrl-C ends it; runs that play go on.
    """
    require_loopback(host)
    settings = read_settings()
    with opened(settings) as store, _listening(host, port) as sock:
        _serve(store, settings, sock, host)


def require_loopback(host: str) -> None:
    """Raises InputError for an address that other machines reach: the API asks nobody who they are."""
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise InputError(
            f"--host {host} may be reached from other machines, and the API does not ask who calls",
            expected="127.0.0.1, ::1 or localhost",
            next_move="Leave --host out; from another machine, come through `ssh -L 8377:127.0.0.1:8377 THIS-MACHINE`",
        )


def _listening(host: str, port: int) -> socket.socket:
    """Open before anything is printed, so that the address is true and who calls at once is answered soon."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
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


def _serve(store: Store, settings: Settings, sock: socket.socket, host: str) -> None:
    import uvicorn

    from api.guards import Guards
    from api.main import create_app
    from api.service import Service
    from orchestrator.interrupts import interruptible

    # a listener that leaves in the middle of an event is no news
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    service = Service(store, settings, lambda: server.should_exit)
    config = uvicorn.Config(
        Guards(create_app(service)),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=STOP_S,
    )
    server = uvicorn.Server(config)
    address = f"http://{f'[{host}]' if ':' in host else host}:{sock.getsockname()[1]}"
    click.echo(f"eva listens at {address}  (data {settings.data_dir}, database {store.url})")
    click.echo(f"  curl {address}/v1/runs")
    click.echo(f"  curl {address}/v1/runs/last")
    click.echo(f"  curl -N {address}/v1/runs/last/events/stream")
    click.echo(f"  curl {address}/v1/openapi.json")
    click.echo("Ctrl-C ends it.")
    # uvicorn ends in good order at either signal, and then raises it again: by then all is done but to close the store
    with interruptible(), suppress(KeyboardInterrupt):
        asyncio.run(server.serve(sockets=[sock]))
