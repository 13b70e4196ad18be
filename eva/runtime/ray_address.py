"""Addresses of Ray clusters: HOST:PORT, `ray://HOST:PORT`, `http://HOST:PORT`, or a word such as `auto`."""

from __future__ import annotations

import socket
from urllib.parse import SplitResult, urlsplit


def host_of(address: str) -> str:
    """Returns host and port of an address, without credentials, for messages."""
    parts = _parts(address)
    return f"{parts.hostname or address}{f':{parts.port}' if parts.port else ''}"


def require_listener(address: str, patience_s: float = 10.0) -> None:
    """Raises OSError or ValueError if nothing listens there. Does nothing for an address without a port.

    Ray itself waits minutes for a head that is not there, and Ctrl-C does not end that.
    """
    parts = _parts(address)
    if parts.hostname and parts.port:
        socket.create_connection((parts.hostname, parts.port), timeout=patience_s).close()


def _parts(address: str) -> SplitResult:
    return urlsplit(address if "://" in address else f"//{address}")
