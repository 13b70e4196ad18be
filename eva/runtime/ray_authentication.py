"""Ray's jobs are programs: a head that others reach, and that asks for no token, runs whatever anybody sends it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

from eva.errors import ConfigError, EvaError

PROBE_S = 5.0
ACCEPT = "EVA_RAY_UNGUARDED"


def require_guarded_ray(
    address: str | None, environment: Mapping[str, str] = os.environ, error: type[EvaError] = ConfigError
) -> None:
    """Call it before starting or joining a cluster: that at RAY_ADDRESS, or (None) one of this machine's own.

    Raises `error` where anybody could run programs on it, unless EVA_RAY_UNGUARDED=1 accepts that.
    """
    if accepts_unguarded(environment) or (why := why_unguarded(address, environment)) is None:
        return
    raise error(
        why,
        expected="token authentication (Ray 2.60: RAY_AUTH_MODE=token on the head and here)",
        next_move="Make a token with `ray get-auth-token --generate`, give it to every machine (RAY_AUTH_TOKEN or "
        f"RAY_AUTH_TOKEN_PATH) and start the head anew; or set {ACCEPT}=1 where nobody else reaches it",
    )


def accepts_unguarded(environment: Mapping[str, str] = os.environ) -> bool:
    """Is an unguarded cluster accepted knowingly?"""
    return environment.get(ACCEPT) == "1"


def why_unguarded(address: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """Why the cluster there may run anybody's programs; None where it asks for a token, as far as one can see."""
    mode = environment.get("RAY_AUTH_MODE", "").lower()
    if address is None or address in ("local", ""):
        # one that Ray starts for this process asks for a token unless it is told not to
        return None if mode in ("", "token") else f"RAY_AUTH_MODE is {mode!r}, so the local Ray cluster asks nobody"
    if address.startswith(("http://", "https://")):
        told = authentication_mode(address)
        return None if told in (None, "token") else f"the Ray head at {host_of(address)} asks nobody for a token"
    if mode == "token" or (not mode and _has_token(environment)):
        return None
    return f"RAY_ADDRESS is {host_of(address)}, and this process has no token for it, so it may ask nobody for one"


def authentication_mode(address: str) -> str | None:
    """What a head's dashboard says of itself: `token` or `disabled`; None where nothing answers."""
    url = f"{address.rstrip('/')}/api/authentication_mode"
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=PROBE_S) as answer:
            said: Any = json.loads(answer.read(1000))
    except (URLError, OSError, ValueError):
        return None
    return str(cast("dict[str, Any]", said).get("authentication_mode")) if isinstance(said, dict) else None


def host_of(address: str) -> str:
    """The address without credentials, for messages."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    return f"{parts.hostname or address}{f':{parts.port}' if parts.port else ''}"


def _has_token(environment: Mapping[str, str]) -> bool:
    if environment.get("RAY_AUTH_TOKEN") or environment.get("RAY_AUTH_TOKEN_PATH"):
        return True
    return (Path(environment.get("HOME", "/")) / ".ray" / "auth_token").exists()
