"""The dashboard's page and files. Every view has the same page, which shows what its address says."""

from __future__ import annotations

import html
import os
from http import HTTPStatus
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response
from starlette.types import Scope

from api.dashboard.page_files import BUILT, PageBuilder, PageFiles
from api.dashboard.script_bundle import SHARED
from api.security.access import is_api
from eva.errors import NotFoundError

router = APIRouter(include_in_schema=False)

STATIC = Path(__file__).parent / "static"
# revalidated at every visit, so that no browser runs old code with a new API; unchanged files are not sent again
_HEADERS = {"Cache-Control": "no-cache"}
# the address changes with the content
_FOR_GOOD = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
_builder = PageBuilder(STATIC)
_FOLLOWING = ("", "evolution", "training")
"""The views that begin with the run itself. A browser warns of what a page names and does not use."""


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
@router.get("/webhooks")
@router.get("/webhooks/{path:path}")
@router.get("/compare")
@router.get("/launch")
def page(request: Request) -> HTMLResponse:
    """The page of all views. It names what its view will ask for first, so that this is on its way sooner."""
    newest = _builder.newest()
    hints = "".join(f"    {hint}\n" for hint in _hints(newest, request.url.path, request.url.query))
    return HTMLResponse(newest.page.replace("  </head>", f"{hints}  </head>"), headers=_HEADERS)


def missing_page(request: Request) -> HTMLResponse | None:
    """The page for an address that no view has, where a browser asks for a page; None for a program, or a file."""
    path = request.url.path
    if "text/html" not in request.headers.get("accept", "") or is_api(path) or path.startswith("/static/"):
        return None
    shown = page(request)
    shown.status_code = HTTPStatus.NOT_FOUND
    return shown


def _hints(files: PageFiles, path: str, query: str) -> list[str]:
    """Links to the scripts of a view that has its own, and to the first data of a page."""
    noun, run, view, item, *_ = [*path.strip("/").split("/"), *[""] * 4]
    data = ["/v1/session"]
    if path == "/" and not query:
        data.append("/v1/runs?sort=-created&amp;limit=50")
    if noun == "runs" and view in _FOLLOWING:
        data.append(f"/v1/runs/{html.escape(run)}")
    word = "prompt" if view == "prompts" and item else view or noun
    own = [name for name in files.files if word and name.endswith(f"-{word}.js")]
    scripts = [f"{files.base}/{name}" for name in (*own, SHARED) if own]
    return [
        *(f'<link rel="preload" as="script" href="{address}">' for address in scripts),
        *(f'<link rel="preload" as="fetch" crossorigin="anonymous" href="{address}">' for address in data),
    ]


@router.get("/docs")
def api_docs() -> FileResponse:
    """The interactive documentation of the API."""
    return FileResponse(STATIC / "api-docs.html", headers=_HEADERS)


@router.get(f"/static/{BUILT}/{{digest}}/{{name}}")
def page_file(digest: str, name: str, request: Request) -> Response:
    """A file of the page. Raises NotFoundError for one of another version of eva, which the page then reloads for."""
    newest = _builder.newest()
    file = newest.files.get(name)
    if digest != newest.digest or file is None:
        raise NotFoundError(
            f"the dashboard has no file {name[:100]!r} of version {digest[:100]!r}",
            expected=f"a file of version {newest.digest}",
            next_move="Reload the page",
        )
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.zipped, media_type=file.kind, headers={**_FOR_GOOD, "Content-Encoding": "gzip"})
    return Response(file.plain, media_type=file.kind, headers=_FOR_GOOD)


def install(app: FastAPI) -> None:
    """Adds the page and its files to the application."""
    app.include_router(router)
    app.mount("/static", _Files(directory=STATIC), "static")
