"""Any value in any parameter gives a response or a problem document, never an internal error."""

from __future__ import annotations

from functools import cache
from typing import Any
from urllib.parse import quote

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.main import bare_app
from tests.support.service_fixtures import Served

STRANGE = [
    "",
    "last",
    "0",
    "-1",
    "1e999",
    "nan",
    "inf",
    "2147483648",
    "32768",
    "9" * 400,
    "\x00",
    "a\x00b",
    "%",
    "_",
    "..",
    "'",
    '"',
    "null",
    "true",
    "[]",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59-23:59",
    "\u202e",
    "1.5",
    # cursors: of another sort, of an integer, of a null, of an infinite value, of a negative number
    "WyItaW5mbyIsMS4wLDBd",
    "WzFd",
    "WyJudW1iZXIiLG51bGwsMF0",
    "WyJpbmZvIiwxZTk5OSwwXQ",
    "WyJudW1iZXIiLDEsLTFd",
]
VALUES = st.one_of(st.sampled_from(STRANGE), st.text(max_size=30), st.integers().map(str), st.floats().map(repr))


@cache
def cases() -> list[tuple[str, list[dict[str, Any]]]]:
    document = bare_app().openapi()
    return [
        (path, methods["get"].get("parameters", []))
        for path, methods in document["paths"].items()
        if "get" in methods and not path.endswith("/stream")
    ]


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, dict[str, str]]:
    """A path of the document and a query, with valid and with strange values."""
    path, parameters = draw(st.sampled_from(cases()))
    query: dict[str, str] = {}
    for parameter in parameters:
        name = parameter["name"]
        if parameter["in"] == "path":
            good = {"run": "last", "number": "3", "export": "1", "study": "claims", "webhook": "ci"}[name]
            path = path.replace("{" + name + "}", draw(st.one_of(st.just(good), VALUES)))
        elif parameter["in"] == "query" and draw(st.booleans()):
            choices = parameter["schema"].get("enum")
            query[name] = draw(st.sampled_from(choices) if choices and draw(st.booleans()) else VALUES)
    return path, query


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(asked=requests())
def test_no_request_breaks_the_service(played_service: Served, asked: tuple[str, dict[str, str]]) -> None:
    path, query = asked
    url = played_service.client.base_url.copy_with(raw_path=quote(path, safe="/").encode())
    answer = played_service.client.get(url, params=query or None)
    assert answer.status_code in (200, 404, 409, 422), (asked, answer.text)
    if answer.status_code != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code
