"""Cleans values that Postgres cannot store: NUL characters and lone surrogates in texts, NaN in JSON and rewards."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

from eva.runtime.redaction import known_secrets, redact, redact_json
from eva.seeds import storable_text
from eva.types import Reward


def clean_text(text: str) -> str:
    """Replaces each NUL character and lone surrogate by U+FFFD, because Postgres refuses both.

    Every text is cleaned before it is stored, and before its hash is computed.
    """
    return storable_text(text)


def clean_text_or_none(text: str | None) -> str | None:
    """Cleans a text that may be missing."""
    return None if text is None else clean_text(text)


def redacted_text(text: str) -> str:
    """Cleans a text that people read, such as an error or a reason, and removes known secrets from it."""
    return redact(clean_text(text), known_secrets())


def redacted_json(value: Any) -> Any:
    """Cleans a JSON value that people read, and removes known secrets from it."""
    return redact_json(clean_json(value), known_secrets())


def clean_json(value: Any) -> Any:
    """Cleans the texts of a JSON value, and replaces NaN and infinities, which JSON does not have, by null."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value)
        return {clean_text(str(key)): clean_json(item) for key, item in items.items()}
    if isinstance(value, list | tuple):
        elements = cast("Sequence[Any]", value)
        return [clean_json(element) for element in elements]
    return value


def json_text(value: Any) -> str:
    """Returns a cleaned value as JSON."""
    return json.dumps(clean_json(value), ensure_ascii=False, allow_nan=False)


def value_or_reason(reward: Reward) -> tuple[float | None, str | None]:
    """Returns a reward's two columns. A reward that is NaN or infinite becomes no reward, with that reason."""
    if reward.value is None:
        return None, redacted_text(reward.reason or "") or "no reason was given"
    if not math.isfinite(reward.value):
        return None, f"the reward is {reward.value}"
    return reward.value, None
