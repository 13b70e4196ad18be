"""Sends a POST to an address that was checked: what a name resolves to is looked up once, checked, and connected to.

A name that resolves to another address a moment later (DNS rebinding) changes nothing, for it is not looked up again.
Redirects are not followed, proxies not used, and the body of the response is not read.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from urllib.parse import SplitResult

from eva.errors import EvaError
from eva.webhooks.addresses import NETWORKS, Address, Network, is_allowed, is_public, parse_receiver

STEP_S, WHOLE_S = 10.0, 15.0
"""Limits in seconds: of each step of a request (connecting, one read), and of all of it."""


class ReceiverError(EvaError):
    """A receiver could not be reached, or may not be. The message does not show its URL."""


def checked_post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    networks: Sequence[Network],
    *,
    step_s: float = STEP_S,
    whole_s: float = WHOLE_S,
) -> int:
    """Sends the body and returns the response's status. Raises ReceiverError.

    `networks` are those that may be reached although they are not public, or without TLS.
    """
    parts = parse_receiver(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = _checked_address(parts, host, port, networks)
    connection = _Connection(host, port, address, step_s, tls=parts.scheme == "https")
    timer = threading.Timer(whole_s, connection.abort)
    timer.daemon = True
    timer.start()
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request("POST", target, body, {"Host": parts.netloc, **headers})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        why = f"no response within {whole_s:g} s" if connection.aborted else str(error) or type(error).__name__
        raise ReceiverError(f"{host} at {address} did not answer: {why}") from error
    finally:
        timer.cancel()
        connection.close()


def _checked_address(parts: SplitResult, host: str, port: int, networks: Sequence[Network]) -> Address:
    """The first address of the host that may be reached. Raises ReceiverError if there is none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ReceiverError(f"{host} has no address: {getattr(error, 'strerror', None) or error}") from error
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    for address in addresses:
        if is_allowed(address, networks) or (parts.scheme == "https" and is_public(address)):
            return address
    public = [address for address in addresses if is_public(address)]
    why = "which is public, so it takes https://" if public else "which is not public"
    raise ReceiverError(
        f"{host} is at {(public or addresses)[0]}, {why}",
        expected=f"https:// and a public address, or one in {NETWORKS}",
        next_move=f"Allow its network with {NETWORKS}, if it is yours",
    )


class _Connection(http.client.HTTPConnection):
    """A connection to one address. TLS proves that the receiver there has the host's name."""

    def __init__(self, host: str, port: int, address: Address, step_s: float, *, tls: bool) -> None:
        super().__init__(host, port, timeout=step_s)
        self.aborted = False
        self._address, self._step_s, self._tls = str(address), step_s, tls

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), timeout=self._step_s)
        if self._tls:
            self.sock = ssl.create_default_context().wrap_socket(self.sock, server_hostname=self.host)

    def abort(self) -> None:
        """Ends the request from another thread: a receiver that sends a byte now and then would hold it up for ever."""
        self.aborted = True
        with suppress(OSError):
            if self.sock is not None:
                self.sock.shutdown(socket.SHUT_RDWR)
