"""The application: every route of the API in one list."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import Depends, FastAPI
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.routing import APIRoute

from api import openapi, problems
from api.checkpoints import endpoints as checkpoints
from api.compare import endpoints as compare
from api.configs import endpoints as configs
from api.configs import run_config
from api.creator import endpoints as creator
from api.dashboard import endpoints as dashboard
from api.events import endpoints as events
from api.exports import endpoints as exports
from api.exports.writer import ExportWriter
from api.groups import endpoints as groups
from api.health import endpoints as health
from api.heldout import endpoints as heldout
from api.iterations import endpoints as iterations
from api.keys import endpoints as keys
from api.logs import endpoints as logs
from api.map import endpoints as prompt_map
from api.metrics import endpoints as metrics
from api.parameters import refuse_unknown_parameters
from api.presets import endpoints as presets
from api.prometheus import endpoints as prometheus
from api.prompt_files import endpoints as prompt_files
from api.prompts import difference, families
from api.prompts import endpoints as prompts
from api.report import endpoints as report
from api.runs import changes, launches
from api.runs import endpoints as runs
from api.service import Service
from api.session import endpoints as session
from api.statistics import endpoints as statistics
from api.studies import endpoints as studies
from api.summary import endpoints as summary
from api.webhooks import endpoints as webhooks

VERSION = "1"
ROUTERS = (
    health,
    prometheus,
    presets,
    configs,
    prompt_files,
    runs,
    launches,
    changes,
    run_config,
    groups,
    iterations,
    events,
    statistics,
    metrics,
    prompts,
    difference,
    families,
    heldout,
    checkpoints,
    creator,
    logs,
    compare,
    studies,
    exports,
    summary,
    report,
    prompt_map,
    session,
    keys,
    webhooks,
)

THREADS = 12
"""How many requests run at the same time: fewer than the store has connections."""

SMALLEST_ZIPPED = 2000
"""Bytes from which on a response is compressed, for clients that accept it."""

_ABOUT = """Launch and watch runs of eva. Lists come in pages: send `next` of a page as `cursor` to get the next one.
Every error is a problem document (RFC 9457) that says what was given, what is allowed, and what to do next."""


def create_app(service: Service) -> FastAPI:
    """Creates the application on an open store. The server puts api.security.guards.Guards in front of it."""
    app = bare_app()
    app.state.service = service
    app.state.exports = ExportWriter(service.store, service.settings)
    return app


def bare_app() -> FastAPI:
    """Creates the application with its routes, without a store."""
    app = FastAPI(
        title="eva",
        version=VERSION,
        description=_ABOUT,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
        responses={"default": openapi.PROBLEM},
        redirect_slashes=False,
        generate_unique_id_function=_operation,
        separate_input_output_schemas=False,
        dependencies=[Depends(refuse_unknown_parameters)],
    )
    # streams of events are left out by the middleware, since they would be held back
    app.add_middleware(GZipMiddleware, minimum_size=SMALLEST_ZIPPED, compresslevel=5)
    problems.install(app, dashboard.missing_page)
    for noun in ROUTERS:
        app.include_router(noun.router)
    dashboard.install(app)
    make_document = app.openapi
    app.openapi = lambda: openapi.complete(make_document())
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncGenerator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    app.state.exports.start()
    try:
        yield
    finally:
        app.state.exports.stop()


def _operation(route: APIRoute) -> str:
    return route.name
