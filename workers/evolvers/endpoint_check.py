"""Checks, before a run starts, that the endpoint of a language model answers and that its key is there."""

from __future__ import annotations

import base64
import os
import urllib.error
import urllib.request
from http.client import HTTPException
from urllib.parse import unquote, urlsplit

from eva.config import EvolInstruct, Guidance, JudgeReward
from eva.errors import ConfigError
from workers.evolvers.completions import Completions

PING_S = 10.0
_KEYLESS = (401, 403)


def require_endpoint(config: EvolInstruct | JudgeReward | Guidance, key: str, *, offline: bool = False) -> str:
    """Checks provider and key and, unless `offline`, that a server of the user's own answers. No token is spent.

    Returns what was checked. Raises ConfigError. `key`: the section of the config.
    """
    if isinstance(config, EvolInstruct):
        Completions(config)
    base = config.api_base
    if base is None:
        return f"{key}: the provider of {config.model} is known, and its key is set"
    address = urlsplit(base)
    shown = f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ConfigError(
            f"{key}.api_base is {base.rpartition('@')[2]!r}",
            expected="the address of an OpenAI-compatible server, such as http://HOST:8000/v1",
            next_move=f"Correct {key}.api_base",
        )
    if offline:
        return f"{key}: {shown} was not asked (--offline)"
    _ping(config, shown, f"{address.username or ''}:{address.password or ''}", key)
    return f"{key}: {shown} answers"


def _ping(config: EvolInstruct | JudgeReward | Guidance, shown: str, credentials: str, key: str) -> None:
    """Asks for the list of models, which every OpenAI-compatible server has. Any answer but a refused key will do."""
    request = urllib.request.Request(f"{shown.rstrip('/')}/models")  # noqa: S310 - checked above
    if secret := os.environ.get(config.api_key_env or ""):
        request.add_header("Authorization", f"Bearer {secret}")
    elif credentials != ":":
        request.add_header("Authorization", f"Basic {base64.b64encode(unquote(credentials).encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=PING_S):  # noqa: S310 - checked above
            return
    except urllib.error.HTTPError as error:
        with error:
            if error.code not in _KEYLESS:
                return
        raise ConfigError(
            f"{key}.api_base {shown} refuses the key (status {error.code})",
            expected="a key that is valid there",
            next_move=f"Set the variable that {key}.api_key_env names"
            if config.api_key_env
            else f"Name the variable that holds the key in {key}.api_key_env",
        ) from error
    except (OSError, ValueError, HTTPException) as error:
        raise ConfigError(
            f"{key}.api_base {shown} does not answer within {PING_S:.0f} s: {getattr(error, 'reason', error)}",
            expected="a running server that this machine can reach",
            next_move="Start it or correct the address; --offline skips this check",
        ) from error
