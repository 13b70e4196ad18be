"""The OpenAPI document, with what FastAPI leaves out: errors, security, and links from responses to requests."""

from __future__ import annotations

from typing import Any

from api import problems
from api.examples import add_examples
from api.security.access import COOKIE, needed_scope

Document = dict[str, Any]

_RUN = {"run": "$request.path.run"}
_MADE = {"run": "$response.body#/name"}
_OF_A_RUN = (
    "get_run",
    "change_run",
    "delete_run",
    "restore_run",
    "pause_run",
    "resume_run",
    "cancel_run",
    "fork_run",
    "list_iterations",
    "list_stages",
    "list_events",
    "read_statistics",
    "read_metrics",
    "read_creator",
    "list_prompts",
    "list_checkpoints",
    "read_logs",
    "create_export",
    "list_exports",
    "get_card",
    "get_summary",
)
_OF_A_WEBHOOK = ("remove_webhook", "send_test", "list_deliveries")
_WEBHOOK = {"webhook": "$response.body#/name"}
_TAGGED = {"change_run": {"if-match": "$response.header.ETag"}}
_RUN_LEADS = {name: _MADE | _TAGGED.get(name, {}) for name in _OF_A_RUN}
_PROMPT = _RUN | {"number": "$response.body#/items/0/number"}
_EXPORT = _RUN | {"export": "$response.body#/id"}
_LISTED_EXPORT = _RUN | {"export": "$response.body#/items/0/id"}

LINKS: dict[tuple[str, int], dict[str, dict[str, str]]] = {
    ("create_run", 201): _RUN_LEADS,
    ("fork_run", 201): {"get_run": _MADE},
    ("get_run", 200): {name: parameters for name, parameters in _RUN_LEADS.items() if name != "get_run"},
    ("list_runs", 200): {"get_run": {"run": "$response.body#/items/0/name"}},
    ("list_prompts", 200): dict.fromkeys(("get_prompt", "list_responses", "get_lineage", "get_difference"), _PROMPT),
    ("list_checkpoints", 200): {"get_checkpoint": _RUN | {"number": "$response.body#/items/0/number"}},
    ("create_export", 202): dict.fromkeys(("get_export", "get_export_file"), _EXPORT),
    ("list_exports", 200): dict.fromkeys(("get_export", "get_export_file"), _LISTED_EXPORT),
    ("create_webhook", 201): dict.fromkeys(_OF_A_WEBHOOK, _WEBHOOK),
    ("create_key", 201): {"revoke_key": {"key": "$response.body#/key"}},
}
"""By operation and status: the operations whose parameters are in the response."""

_SCHEMES = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key (`eva keys create`). A service on loopback requires none, unless it is told to.",
    },
    "login": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "The cookie of a browser login."},
}


PROBLEM: Document = {
    "description": "Why the request failed",
    "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
"""The response to a request that failed."""


def complete(document: Document) -> Document:
    """Adds the schema of errors, the security of each operation, the links between them, and examples."""
    schema = problems.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    document["components"]["schemas"] |= {**schema.pop("$defs"), "Problem": schema}
    simplify(document)
    add_security(document)
    add_links(document)
    add_examples(document["components"]["schemas"])
    return document


def simplify(document: Document) -> None:
    """Removes null from the types of parameters: an optional one is left out, never null."""
    for methods in document["paths"].values():
        for parameter in (one for operation in methods.values() for one in operation.get("parameters", [])):
            schema = parameter["schema"]
            choices = [choice for choice in schema.get("anyOf", []) if choice != {"type": "null"}]
            if len(choices) == 1:
                del schema["anyOf"]
                parameter["schema"] = choices[0] | schema


def add_security(document: Document) -> None:
    """Marks each operation that needs a key, where the service requires keys."""
    document["components"]["securitySchemes"] = _SCHEMES
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if needed_scope(method.upper(), path) is not None:
                operation["security"] = [{name: []} for name in _SCHEMES]


def add_links(document: Document) -> None:
    """Adds LINKS to the responses that they belong to."""
    operations = {
        operation["operationId"]: operation for methods in document["paths"].values() for operation in methods.values()
    }
    for (name, status), leads in LINKS.items():
        operations[name]["responses"][str(status)]["links"] = {
            target: {"operationId": target, "parameters": parameters} for target, parameters in leads.items()
        }
