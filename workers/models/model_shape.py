"""The dimensions of a model before its weights are fetched: from its config.json alone."""

from __future__ import annotations

import json
from pathlib import Path

from eva.capacity.shapes import ModelShape, shape_of
from eva.errors import ModelError
from workers.models.model_folder import inspect_model, resolve_model

SMALL_FILES = ("*.json", "*.jinja", "*.model", "*.txt")
"""What describes a model of the hub: megabytes, not gigabytes."""


def read_shape(path_or_id: str, revision: str | None = None) -> ModelShape | None:
    """Returns the shape of a model: a folder, or a hub id (fetches its small files alone).

    None for a model that is no dense transformer, and where it cannot be found: the checks of the model itself say why.
    """
    try:
        folder = resolve_model(path_or_id, revision, SMALL_FILES)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (ModelError, OSError, ValueError):
        return None
    shape = shape_of(config) if isinstance(config, dict) else None
    if shape is None:
        return None
    parameters = _counted(folder)
    return shape if parameters is None else shape.counting(parameters)


def small_files(path_or_id: str, revision: str | None = None) -> Path | None:
    """Returns a folder with everything of a model but its weights; None where it cannot be fetched."""
    try:
        return resolve_model(path_or_id, revision, SMALL_FILES)
    except ModelError:
        return None


def _counted(folder: Path) -> int | None:
    """The number of parameters, if the weights are there."""
    try:
        return inspect_model(folder).parameters
    except ModelError:
        return None
