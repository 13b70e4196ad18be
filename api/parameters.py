"""Refuses query parameters that a path does not know: a filter that is ignored would look like one that found all."""

from __future__ import annotations

import difflib

from fastapi import Request
from fastapi.dependencies.utils import get_flat_dependant
from fastapi.routing import APIRoute

from api.security.access import is_api
from eva.errors import InputError

_OTHER_NAMES = {
    "page": "cursor",
    "offset": "cursor",
    "after_id": "cursor",
    "next": "cursor",
    "page_size": "limit",
    "per_page": "limit",
    "size": "limit",
    "n": "limit",
    "tags": "tag",
    "state": "status",
    "since": "created_after",
    "until": "created_before",
    "q": "text",
    "dryrun": "dry_run",
}
"""What other APIs call the parameters of this one."""


async def refuse_unknown_parameters(request: Request) -> None:  # async, so that it needs no thread
    """Raises InputError for a query parameter that the path does not have; it names the nearest one that it has."""
    route = request.scope.get("route")
    if not (request.query_params and isinstance(route, APIRoute) and is_api(request.url.path)):
        return
    known = known_parameters(route)
    for name in request.query_params:
        if name not in known:
            raise InputError(
                f"{request.url.path[:200]} has no query parameter {name[:100]!r}",
                expected=f"one of {', '.join(known)}" if known else "no query parameters",
                next_move=_advice(name, known),
            )


def known_parameters(route: APIRoute) -> tuple[str, ...]:
    """The names of a route's query parameters, in order."""
    return tuple(sorted(field.alias for field in get_flat_dependant(route.dependant).query_params))


def _advice(name: str, known: tuple[str, ...]) -> str:
    other = _OTHER_NAMES.get(name.lower())
    close = [other] if other in known else difflib.get_close_matches(name, known, 1)
    if not close:
        return "Leave it out; /v1/openapi.json describes what each path takes"
    if close[0] == "cursor":
        return "Pages are walked with `cursor`: send `next` of a page to get the one after it"
    return f"Did you mean {close[0]}?"
