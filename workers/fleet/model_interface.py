"""The interface of a model: everything but its weights. Engines can exchange the weights of models that share one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from eva.errors import ModelError
from eva.solver.manifest import CANARY, MANIFEST, TRAINING

_ABOUT_THE_FILE = ("transformers_version", "_name_or_path")
"""What a model's JSON files say about how they were written."""
_ABOUT_WEIGHTS = (CANARY, MANIFEST, TRAINING)
"""What a checkpoint's files say about its weights."""


def model_interface(folder: Path) -> str:
    """Returns a digest of everything of a model but its weights: shape, tokenizer, chat template.

    Engines can load one model's weights in place of another's if their digests are equal.
    """
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.suffix in (".jinja", ".model", ".txt", ".tiktoken"):
            digest.update(file.name.encode() + file.read_bytes())
        elif file.suffix == ".json" and file.name not in _ABOUT_WEIGHTS and not file.name.endswith(".index.json"):
            values = json.loads(file.read_text(encoding="utf-8"))
            if isinstance(values, dict):
                values = {key: value for key, value in values.items() if key not in _ABOUT_THE_FILE}
            digest.update(file.name.encode() + json.dumps(values, sort_keys=True).encode())
    return digest.hexdigest()


def require_same_interface(creator: Path, solver: Path) -> None:
    """Raises ModelError for a creator that the engines of the solver cannot serve in its place."""
    if model_interface(creator) != model_interface(solver):
        raise ModelError(
            f"the creator's model {creator} has another shape, tokenizer or chat template than the solver's, {solver}",
            expected="two models of one kind: one fleet serves both, one set of weights in place of the other",
            next_move="Leave evolving.evolver.model out, so that the creator starts from the solver's weights, or "
            "choose a fine-tune of the same model",
        )
