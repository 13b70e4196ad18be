"""What Postgres can hold: text without NUL characters and lone surrogates, JSON and rewards without NaN."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from eva.runtime.redaction import known_secrets, redact, redact_json
from eva.types import Reward

_REFUSED = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """The text with each NUL character and lone surrogate replaced by U+FFFD; all else is kept.

    Postgres refuses both. Every text passes through here on its way in, and its hash is taken after.
    """
    return _REFUSED.sub("\ufffd", text)


def storable_or_none(text: str | None) -> str | None:
    return None if text is None else storable(text)


def told(text: str) -> str:
    """What people are told, such as an error or a reason: storable, and without secrets."""
    return redact(storable(text), known_secrets())


def told_json(value: Any) -> Any:
    """The same for a JSON value."""
    return redact_json(storable_json(value), known_secrets())


def storable_json(value: Any) -> Any:
    """A JSON value with storable texts, and null for NaN and infinities, which JSON does not know."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value)
        return {storable(str(key)): storable_json(item) for key, item in items.items()}
    if isinstance(value, list | tuple):
        elements = cast("Sequence[Any]", value)
        return [storable_json(element) for element in elements]
    return value


def json_text(value: Any) -> str:
    return json.dumps(storable_json(value), ensure_ascii=False, allow_nan=False)


def value_or_reason(reward: Reward) -> tuple[float | None, str | None]:
    """A reward's two columns; one that is NaN or infinite is none, with that reason."""
    if reward.value is None:
        return None, told(reward.reason or "") or "no reason was given"
    if not math.isfinite(reward.value):
        return None, f"the reward is {reward.value}"
    return reward.value, None
