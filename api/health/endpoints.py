"""Is the service alive, and can it work?"""

from __future__ import annotations

from fastapi import APIRouter

from api.schema import Schema
from api.service import Here
from store.views.report import server_version

router = APIRouter(tags=["health"])


class Alive(Schema):
    """The process answers."""

    status: str = "ok"
    """Always `ok`."""


class Ready(Schema):
    """The service can work."""

    status: str = "ok"
    """Always `ok`."""
    postgres: str
    """Version of the database."""


@router.get("/healthz")
def healthz() -> Alive:
    """Does the process answer?"""
    return Alive()


@router.get("/readyz")
def readyz(here: Here) -> Ready:
    """Does the database answer? 503 where it does not."""
    with here.reading() as conn:
        return Ready(postgres=server_version(conn))
