"""What schemathesis cannot make up by itself: requests that other requests can go on from."""

from __future__ import annotations

from typing import Any

import schemathesis

LAUNCHED = {"preset": "playground", "overrides": ["prompts.playground=12", "evaluation.playground=3"]}


@schemathesis.hook
def map_case(context: schemathesis.HookContext, case: schemathesis.Case) -> schemathesis.Case:
    """In sequences of requests, a run that can be launched, a fork that is possible, and lists that are not empty."""
    sound = case.meta is not None and case.meta.generation.mode.is_positive
    if case.meta is None or not sound or case.meta.phase.name.value != "stateful":
        return case
    made: dict[str, Any] = {"create_run": LAUNCHED, "fork_run": {"at": 0}, "resume_run": {}}
    name = case.operation.definition.raw["operationId"]
    if name in made:
        case.body = made[name]
    if name in ("list_runs", "list_prompts"):
        case.query = {}
    return case
