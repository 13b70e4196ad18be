"""Where the weights of a reward model come from, and what must not be loaded.

Only safetensors are loaded, and the model's own code only if the config allows it at a pinned version. This module
does not import torch, so that the check before a run is cheap.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eva.config import RewardNetwork
from eva.errors import ConfigError, ModelError
from workers.models.model_folder import HUB_FILES, inspect_model, resolve_model

_COMMIT = re.compile(r"[0-9a-f]{40}")
_PREVIEW = ("config.json",)
_OWN_CODE = ("*.py",)


@dataclass(frozen=True, slots=True)
class Network:
    """Facts of a reward model's config.json. `labels`: logits of a classifier; `positions`: longest text, if known."""

    architecture: str
    model_type: str
    labels: int
    positions: int | None


def inspect_network(config: RewardNetwork) -> Network:
    """Returns the facts of the model from its folder, or from the hub without its weights. Raises ConfigError."""
    require_safe(config)
    try:
        folder = resolve_model(config.model, config.revision, _PREVIEW)
        if Path(config.model).expanduser().is_dir():
            inspect_model(folder)
        return read_network(folder)
    except ModelError as error:
        raise ConfigError(
            f"reward.model: {error.given}",
            expected=error.expected,
            next_move=error.next_move.replace("model.path", "reward.model"),
        ) from error


def require_safe(config: RewardNetwork) -> None:
    """Raises ConfigError if the model's own code is allowed without a fixed version."""
    if not config.trust_remote_code:
        return
    folder = Path(config.model).expanduser()
    if not folder.is_dir():
        if not _COMMIT.fullmatch(config.revision or ""):
            raise ConfigError(
                f"reward.trust_remote_code is on for {config.model} at revision {config.revision}",
                expected="a revision that cannot change: a commit hash of 40 hexadecimal digits",
                next_move="Read that version's code, and put its commit hash into reward.revision",
            )
        return
    elsewhere = [name for name in _auto_map(folder) if "--" in name]
    if elsewhere:
        raise ConfigError(
            f"the config.json in {folder} takes its code from another repository: {elsewhere[0]}",
            expected="code that lies in the folder, with reward.trust_remote_code",
            next_move="Download that code into the folder, read it, and name it in `auto_map` without `--`",
        )


def fetch(config: RewardNetwork) -> Path:
    """Returns the folder with the whole model, downloaded if necessary. Raises ConfigError, ModelError."""
    require_safe(config)
    files = (*HUB_FILES, *_OWN_CODE) if config.trust_remote_code else HUB_FILES
    folder = resolve_model(config.model, config.revision, files)
    inspect_model(folder)
    return folder


def read_network(folder: Path) -> Network:
    """Returns the facts in a folder's config.json. Raises ModelError."""
    facts = _config_json(folder)
    text = {**facts, **(facts.get("text_config") or {})}
    labels = facts.get("num_labels") or len(facts.get("id2label") or {})
    return Network(
        architecture=(facts.get("architectures") or ["unknown"])[0],
        model_type=facts.get("model_type", "unknown"),
        labels=int(labels) or 2,  # transformers' default
        positions=text.get("max_position_embeddings") or None,
    )


def _auto_map(folder: Path) -> list[str]:
    mapped = (_config_json(folder).get("auto_map") or {}).values()
    return [name for entry in mapped for name in (entry if isinstance(entry, list) else [entry]) if name]


def _config_json(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{folder / 'config.json'} cannot be read ({error})",
            expected="a Hugging Face model",
            next_move="Fetch or save the model again",
        ) from error


def network_name(config: RewardNetwork, besides: set[str]) -> str:
    """Returns the name of a network's rewards: its kind, the model, and each setting that can change a reward.

    `besides`: settings of this kind that only change where and how fast it computes.
    """
    kept = config.model_dump(
        exclude_defaults=True,
        exclude={"kind", "model", "revision", "gpus", "batch_tokens", "trust_remote_code", *besides},
    )
    kind = config.model_dump()["kind"]
    model = f"{config.model}@{config.revision}" if config.revision else config.model
    return f"{kind}:{model}" + "".join(f":{key}={value}" for key, value in kept.items())
