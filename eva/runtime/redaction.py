"""Removes secrets from what people see: configs, errors, events, logs. Prompts and responses are not changed.

It hides three things: what looks like a secret anywhere in a text (URLs with credentials, Authorization headers, keys
of known shapes), values with a telling name (`password`, `api_key`), and the secret values from the environment and the
run's config.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast
from urllib.parse import unquote

HIDDEN = "***"
_SHORTEST = 8

_IN_URL = re.compile(r"(://)[^\s/@\"'<>]{1,1000}(@)")
_IN_QUERY = re.compile(
    r"([?&;](?:api[-_]?key|key|(?:access|auth|id)?[-_]?token|auth|passw(?:or)?d|pwd|(?:client[-_]?)?secret|sig(?:nature)?|"
    r"credentials?|x-amz-[a-z-]{1,30})=)[^&\s#\"'<>]{1,4000}",
    re.IGNORECASE,
)
_NAMED = re.compile(
    r"\b((?:proxy-)?authorization|(?:x-)?api[-_]?key|(?:set-)?cookie|passw(?:or)?d|(?:client[-_]?)?secret|"
    r"(?:access|auth)[-_]?token)(\\?[\"']?\s{0,5}[:=]\s{0,5}\\?[\"']?)(?:(?:bearer|basic|token)\s{1,5})?"
    r"(?!(?:bearer|basic|token)\s)"
    r"[^\s\"',;`…\\]{5,4000}",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer\s{1,5})[\w.~+/=-]{12,4000}", re.IGNORECASE)
_KEYS = re.compile(
    r"\b(?:sk|pk|rk)-[\w-]{16,300}|\beva_[A-Za-z0-9]{8}_[A-Za-z0-9]{43}\b|\bhf_[A-Za-z0-9]{20,100}|\bgh[opusr]_[A-Za-z0-9]{20,255}"
    r"|\bgithub_pat_\w{20,255}|\bglpat-[\w-]{20,100}|\bgsk_[A-Za-z0-9]{20,100}|\bxox[abeprs]-[\w-]{10,250}|\bA[KS]IA[0-9A-Z]{16}\b"
    r"|\bAIza[\w-]{35}|\bya29\.[\w.-]{20,300}|\beyJ[\w-]{10,2000}\.[\w-]{10,4000}\.[\w-]{10,1000}"
    r"|\bwhsec_[A-Za-z0-9+/]{20,100}={0,2}|\bhooks\.slack\.com/(?:services|workflows)/[\w/-]{8,300}"
    r"|-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^-]{1,10000}-----END [A-Z ]{0,30}PRIVATE KEY-----"
)
_SECRET_NAME = re.compile(
    r"(?:^|[-_.])(?:api[-_]?key|passw(?:or)?d|secret|(?:access|auth)[-_]?token|authorization)$|^token$", re.IGNORECASE
)
_SECRET_VARIABLE = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)


def redact(text: str, secrets: Collection[str] = ()) -> str:
    """Returns the text with everything that looks like a secret, and each of `secrets`, replaced by ***."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _IN_URL.sub(rf"\1{HIDDEN}\2", text)
    text = _IN_QUERY.sub(rf"\1{HIDDEN}", text)
    text = _NAMED.sub(rf"\1\2{HIDDEN}", text)
    text = _BEARER.sub(rf"\1{HIDDEN}", text)
    return _KEYS.sub(HIDDEN, text)


def redact_json(value: Any, secrets: Collection[str] = ()) -> Any:
    """Returns a JSON value with its texts redacted, and texts under telling names hidden."""
    if isinstance(value, str):
        return redact(value, secrets)
    if isinstance(value, Mapping):
        items = cast("Mapping[str, Any]", value).items()
        return {
            redact(key, secrets): HIDDEN if _tells(key, item) else redact_json(item, secrets) for key, item in items
        }
    if isinstance(value, list | tuple):
        return [redact_json(item, secrets) for item in cast("Sequence[Any]", value)]
    return value


_known: list[frozenset[str]] = []


@contextmanager
def hide_secrets(secrets: frozenset[str]) -> Generator[None]:
    """Adds secrets to those that this process knows, inside the block."""
    _known.append(secrets)
    try:
        yield
    finally:
        _known.remove(secrets)


def known_secrets() -> frozenset[str]:
    """Returns the secrets that this process knows, from its environment and from the config of its run."""
    return environment_secrets(os.environ).union(*_known)


def environment_secrets(environment: Mapping[str, str]) -> frozenset[str]:
    """Returns the values of the variables whose names suggest a secret."""
    return frozenset(
        value
        for name, value in environment.items()
        if _SECRET_VARIABLE.search(name) and len(value) >= _SHORTEST and not value.isalpha()
    )


def secrets_of(config: Mapping[str, Any], environment: Mapping[str, str]) -> frozenset[str]:
    """Returns what a run must not show: the environment's secrets, and those that its config refers to.

    Those are the variables under `api_key_env` and the credentials in URLs.
    """
    secrets: set[str] = {*environment_secrets(environment)}
    for key, value in _texts(config):
        if key.endswith("_env"):
            secrets.add(environment.get(value, ""))
        else:
            secrets |= {part for part in _credentials(value) if not part.isalpha()}
    return frozenset(secret for secret in secrets if len(secret) >= _SHORTEST)


def _tells(key: str, value: object) -> bool:
    return isinstance(value, str) and bool(value) and _SECRET_NAME.search(key) is not None


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, item in cast("Mapping[str, Any]", value).items():
            yield from _texts(item, name)
    elif isinstance(value, list | tuple):
        for item in cast("Sequence[Any]", value):
            yield from _texts(item, key)


def _credentials(text: str) -> Iterator[str]:
    """Yields the passwords and keys of a URL, both as written and unquoted."""
    for match in _IN_URL.finditer(text):
        user, _, password = match[0][3:-1].partition(":")
        yield from (password, unquote(password)) if password else (user, unquote(user))
    for match in _IN_QUERY.finditer(text):
        value = match[0].partition("=")[2]
        yield from (value, unquote(value))
