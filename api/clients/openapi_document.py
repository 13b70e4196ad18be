"""The committed OpenAPI document: `python -m api.clients.openapi_document > docs/reference/openapi.json`."""

from __future__ import annotations

import json
import sys

from fastapi import FastAPI

from api.main import bare_app


def document_text() -> str:
    """The document that clients are generated from. Its order changes only when the API does."""
    app: FastAPI = bare_app()
    return json.dumps(app.openapi(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(document_text())
