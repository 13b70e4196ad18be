"""The dashboard's page and files. Every address of a view gives the same page, which shows what the address says."""

from __future__ import annotations

import os
from pathlib import Path

from fastapi import APIRouter, FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response
from starlette.types import Scope

router = APIRouter(include_in_schema=False)

STATIC = Path(__file__).parent / "static"
# asked again at every visit, so that nobody runs yesterday's code over today's API; unchanged files are not sent again
_HEADERS = {"Cache-Control": "no-cache"}


class _Files(StaticFiles):
    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(_HEADERS)
        return response


@router.get("/")
@router.get("/runs/{path:path}")
@router.get("/compare")
@router.get("/launch")
def page() -> FileResponse:
    """The one page."""
    return FileResponse(STATIC / "index.html", headers=_HEADERS)


def install(app: FastAPI) -> None:
    """Serve the page and its files."""
    app.include_router(router)
    app.mount("/static", _Files(directory=STATIC), "static")
