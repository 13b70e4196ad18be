"""The Python client that any user would generate from the committed OpenAPI document."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.structure import ROOT

CONFIG = """\
package_name_override: eva_client
post_hooks: []
content_type_overrides:
  application/jsonl: application/octet-stream
  application/vnd.apache.parquet: application/octet-stream
"""
"""As docs/reference/api.md has it; without hooks, which would only make it look nicer."""


@dataclass(frozen=True)
class Generated:
    """The package `eva_client`, and what its generation printed."""

    printed: str

    def part(self, name: str) -> Any:
        """A module or what is in it, such as `models.NewRun`."""
        module, _, attribute = name.rpartition(".")
        return getattr(importlib.import_module(f"eva_client.{module}" if module else "eva_client"), attribute)

    def ask(self, client: Any, operation: str, *arguments: Any, **named: Any) -> Any:
        """What an operation answers, such as `runs.get_run`; asserts that it is no problem document."""
        tag, name = operation.split(".")
        module = importlib.import_module(f"eva_client.api.{tag}.{name}")
        answer = module.sync(*arguments, client=client, **named)
        assert not isinstance(answer, self.part("models.Problem")), answer
        return answer


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generated]:
    """The client, importable for this session."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "client.yaml").write_text(CONFIG, "utf-8")
    made = subprocess.run(
        [
            sys.executable,
            "-m",
            "openapi_python_client",
            "generate",
            "--path",
            ROOT / "docs/reference/openapi.json",
            "--config",
            folder / "client.yaml",
            "--meta",
            "none",
            "--output-path",
            folder / "eva_client",
        ],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    sys.path.insert(0, str(folder))
    yield Generated(made.stdout + made.stderr)
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == "eva_client"]:
        del sys.modules[name]
