"""Whether the service is alive and ready."""

from __future__ import annotations

from fastapi import APIRouter

from api.schema import Schema
from api.service import Here
from store.views.report import server_version

router = APIRouter(tags=["health"])


class Alive(Schema):
    """The process responds."""

    status: str = "ok"
    """Always `ok`."""


class Ready(Schema):
    """The service is ready."""

    status: str = "ok"
    """Always `ok`."""
    postgres: str
    """The version of the database."""


@router.get("/healthz")
async def healthz() -> Alive:  # async, so that it needs no thread: it answers while all are busy
    """Whether the process responds."""
    return Alive()


@router.get("/readyz")
def readyz(here: Here) -> Ready:
    """Whether the database responds. 503 when it does not."""
    with here.reading() as conn:
        return Ready(postgres=server_version(conn))
