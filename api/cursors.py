"""Cursors of pages: where the next page begins, as an opaque text."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, cast

from eva.errors import InputError


def write_cursor(*place: str | float | None) -> str:
    """The cursor for a place."""
    return base64.urlsafe_b64encode(json.dumps(place, separators=(",", ":")).encode()).decode().rstrip("=")


def read_cursor(cursor: str | None, *kinds: type[str | float]) -> tuple[Any, ...] | None:
    """The place that a cursor names, whose values have these types (a float may be null). Raises InputError."""
    if cursor is None:
        return None
    try:
        place: Any = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise _strange() from error
    if not isinstance(place, list) or len(values := cast("list[Any]", place)) != len(kinds):
        raise _strange()
    if not all(_fits(value, kind) for value, kind in zip(values, kinds, strict=True)):
        raise _strange()
    return tuple(values)


def _fits(value: object, kind: type[str | float]) -> bool:
    if kind is str:
        return isinstance(value, str)
    if isinstance(value, bool):
        return False
    if kind is int:
        return isinstance(value, int) and 0 <= value < 2**31
    return value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**31)


def _strange() -> InputError:
    return InputError(
        "the cursor does not come from this list",
        expected="`next` of the previous page",
        next_move="Send it unchanged and with the same sort, or start without a cursor",
    )
