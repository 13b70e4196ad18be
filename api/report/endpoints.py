"""The report of a run as one HTML file."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from api.report.facts import facts
from api.report.page import page
from api.schema import RunName
from api.service import Here

router = APIRouter(prefix="/v1/runs/{run}", tags=["report"])


@router.get(
    "/report",
    response_class=HTMLResponse,
    responses={
        200: {
            "description": "One HTML page that opens from disk. It contains its styles, scripts and data.",
            "content": {"text/html": {"schema": {"type": "string"}}},
        }
    },
)
def get_report(here: Here, run: RunName) -> HTMLResponse:
    """The run as a page to keep or send: curves, evolution, families, best and worst responses, config, versions."""
    content = facts(here, run)
    # the name of a run has only letters, digits, dots, dashes and underscores
    disposition = f'attachment; filename="{content["run"]["name"]}.html"'
    return HTMLResponse(page(content["run"]["name"], content), headers={"Content-Disposition": disposition})
