"""Whether a Ray cluster can be reached, and whether it asks for a token: one without runs anybody's programs.

An address is HOST:PORT, `ray://HOST:PORT`, `http://HOST:PORT`, or a word such as `auto`.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.error import URLError
from urllib.parse import SplitResult, urlsplit
from urllib.request import ProxyHandler, build_opener

from eva.errors import ConfigError, DiskFullError, EvaError
from eva.runtime.private_files import OTHERS, closed_folder, ray_sessions_folder

PROBE_S = 5.0
ACCEPT = "EVA_RAY_UNGUARDED"
LEAST_ROOM = 50 * 10**6
"""Bytes that must be free where Ray keeps its sessions: logs, sockets and what its processes tell each other."""


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


def require_guarded_ray(
    address: str | None, environment: Mapping[str, str] = os.environ, error: type[EvaError] = ConfigError
) -> None:
    """Checks a cluster before it is started or joined: the one at `address`, or (None) a local one.

    Raises `error` if anybody could run programs on it, unless EVA_RAY_UNGUARDED=1 accepts this.
    """
    if accepts_unguarded(environment) or (why := why_unguarded(address, environment)) is None:
        return
    raise error(
        why,
        expected="token authentication (Ray 2.60: RAY_AUTH_MODE=token on the head and here)",
        next_move="Create a token with `ray get-auth-token --generate`, set it on every machine (RAY_AUTH_TOKEN or "
        f"RAY_AUTH_TOKEN_PATH) and restart the head; or set {ACCEPT}=1 if nobody else can reach the cluster",
    )


def accepts_unguarded(environment: Mapping[str, str] = os.environ) -> bool:
    """Returns whether the environment explicitly accepts a cluster without authentication."""
    return environment.get(ACCEPT) == "1"


def why_unguarded(address: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """Returns why a cluster may run anybody's programs, or None if it asks for a token, as far as can be seen."""
    mode = environment.get("RAY_AUTH_MODE", "").lower()
    if address is None or address in ("local", ""):
        # a cluster that Ray starts for this process asks for a token unless configured otherwise
        if mode in ("", "token"):
            return None
        return f"RAY_AUTH_MODE is {mode!r}, so the local Ray cluster does not ask for a token"
    if address.startswith(("http://", "https://")):
        reported = authentication_mode(address)
        return None if reported in (None, "token") else f"the Ray head at {host_of(address)} does not ask for a token"
    if mode == "token" or (not mode and _has_token(environment)):
        return None
    return f"RAY_ADDRESS is {host_of(address)}, and this process has no token, so the cluster may not ask for one"


def authentication_mode(address: str) -> str | None:
    """Returns the mode that a head's dashboard reports, `token` or `disabled`; None if it does not respond."""
    url = f"{address.rstrip('/')}/api/authentication_mode"
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=PROBE_S) as response:
            body: Any = json.loads(response.read(1000))
    except (URLError, OSError, ValueError):
        return None
    return str(cast("dict[str, Any]", body).get("authentication_mode")) if isinstance(body, dict) else None


def closed_cluster_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Returns what a Ray cluster of this machine needs in its environment, so that other users cannot reach it.

    It asks for a token, from a file that only this user can read; its ports listen on loopback alone; its sessions lie
    in a closed folder. The caller's own RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH and RAY_TMPDIR are kept. Raises
    InfrastructureError if the folder belongs to another user, and DiskFullError if it has no room: Ray would wait for
    its processes, and then say nothing about the disk.
    """
    folder = closed_folder(ray_sessions_folder(environment)) if not environment.get("RAY_TMPDIR") else None
    _require_room(folder or ray_sessions_folder(environment))
    closed = {
        # Ray's own switch for systems whose firewalls ask about every open port
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }
    if folder is not None:
        closed["RAY_TMPDIR"] = str(folder)
    given = environment.get("RAY_AUTH_TOKEN") or environment.get("RAY_AUTH_TOKEN_PATH")
    if not given and environment.get("HOME"):
        closed["RAY_AUTH_TOKEN_PATH"] = str(_private_token(token_file(environment)))
    return closed


def _require_room(folder: Path) -> None:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < LEAST_ROOM:
        raise DiskFullError(
            f"{free / 1e6:.0f} MB are free in {folder}, where Ray keeps its sessions",
            expected=f"at least {LEAST_ROOM / 1e6:.0f} MB",
            next_move="Free some space there, or set RAY_TMPDIR to a folder with a short path on another disk",
        )


def token_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Returns where the token of this user's local clusters is. Ray's own token file serves other clusters, too."""
    return Path(environment.get("HOME", "/")) / ".ray" / "eva_token"


def _private_token(path: Path) -> Path:
    """Makes the token, or closes its file to others: whoever has it runs programs as this user."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        status = path.stat()
        if status.st_uid == os.geteuid() and status.st_mode & OTHERS:
            path.chmod(0o600)
        return path
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32))
    return path


def _has_token(environment: Mapping[str, str]) -> bool:
    if environment.get("RAY_AUTH_TOKEN") or environment.get("RAY_AUTH_TOKEN_PATH"):
        return True
    return (Path(environment.get("HOME", "/")) / ".ray" / "auth_token").exists()


def _parts(address: str) -> SplitResult:
    return urlsplit(address if "://" in address else f"//{address}")
