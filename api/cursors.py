"""Keyset cursors: where the next page begins, as an opaque text."""

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
    """The place of a cursor, of values of these types (a float may be null). Raises InputError."""
    if cursor is None:
        return None
    try:
        place: Any = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError) as error:
        raise _strange() from error
    if not isinstance(place, list) or len(values := cast("list[Any]", place)) != len(kinds):
        raise _strange()
    for value, kind in zip(values, kinds, strict=True):
        allowed = (float, int, type(None)) if kind is float else (kind,)
        if not isinstance(value, allowed) or isinstance(value, bool) or (kind is int and not 0 <= int(value) < 2**31):
            raise _strange()
    return tuple(values)


def _strange() -> InputError:
    return InputError("the cursor is none that this list gave", expected="`next` of the page before",
                      next_move="Send it unchanged, with the same sort, or start without one")
