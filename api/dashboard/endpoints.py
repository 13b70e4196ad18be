"""The dashboard's page and files. Every view has the same page, which shows what its address says."""

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
# revalidated at every visit, so that no browser runs old code with a new API; unchanged files are not sent again
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
@router.get("/studies")
@router.get("/studies/{path:path}")
@router.get("/compare")
@router.get("/launch")
def page() -> FileResponse:
    """The page of all views."""
    return FileResponse(STATIC / "index.html", headers=_HEADERS)


def install(app: FastAPI) -> None:
    """Adds the page and its files to the application."""
    app.include_router(router)
    app.mount("/static", _Files(directory=STATIC), "static")
