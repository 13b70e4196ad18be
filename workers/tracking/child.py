"""The child process that reports to one tracking service: JSON lines in, one JSON line out for each.

It runs as a script and imports nothing of eva, so that another interpreter can run it, which has the service's package.
The package's output goes to standard error, which is a log file.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from pkgutil import resolve_name
from typing import Any, Protocol

SINKS = {"mlflow": "to_mlflow:MlflowRun", "trackio": "to_trackio:TrackioRun", "wandb": "to_wandb:WandbRun"}
"""`kind` in the config: the class that reports to the service."""


class Sink(Protocol):
    """One run at one service; made from `options` (the config's section) and an opening."""

    url: str

    def log(self, points: list[dict[str, Any]]) -> None: ...

    def close(self, status: str) -> None: ...


def serve(kind: str) -> None:
    """Answers requests until standard input closes."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sink: Sink | None = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer: dict[str, Any] = {}
            if sink is None:
                opened: Sink = resolve_name(SINKS[kind])(request["options"], request["opening"])
                sink, answer["url"] = opened, opened.url
            elif "points" in request:
                sink.log(request["points"])
            else:
                sink.close(request["close"])
        except Exception as error:  # noqa: BLE001 - the parent process handles whatever the package raises
            answer = {"error": f"{type(error).__name__}: {error}"[:2000]}
        out.write(json.dumps(answer) + "\n")
        out.flush()
        if "close" in request:
            return


def is_installed(package: str) -> bool:
    """Whether the package is installed. A folder of that name, such as `wandb/` with offline data, does not count."""
    spec = find_spec(package)
    return spec is not None and spec.origin is not None


if __name__ == "__main__":
    if sys.argv[1] == "--check":
        sys.exit(0 if is_installed(sys.argv[2]) else 1)
    serve(sys.argv[1])
