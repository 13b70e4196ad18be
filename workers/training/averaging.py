"""The average of several checkpoints of one model: the mean of every weight."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers.utils import logging as transformers_logging

from eva.config import Model, Training
from eva.errors import ConflictError
from workers.models.model_folder import inspect_model, require_template
from workers.training import checkpoint_files, checkpoints

_TOKENIZER = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt")


def publish_average(
    sources: Mapping[str, Path], target: Path, training: Training, model: Model, *, engines_on_gpu: bool = False
) -> str:
    """Publishes the mean of these checkpoints' weights as a checkpoint at `target`. Returns its digest.

    `sources`: folders by the name that messages use. Sums are in float32, and stored in the first one's precision. For
    adapters, which are merged into their checkpoints, this is the mean of their updates. Raises ConflictError if the
    checkpoints are not of one model, DiskFullError.
    """
    transformers_logging.disable_progress_bar()
    folders = [*sources.values()]
    _require_one_model(sources)
    facts = inspect_model(folders[0])
    require_template(facts, model)

    def write(directory: Path) -> None:
        checkpoint_files.copy_companions(folders[0], directory, index=True)
        for name in facts.weight_files:
            _write_mean(folders, name, directory)
        checkpoint_files.seal_with_canary(directory, training, model, dtype=facts.dtype, engines_on_gpu=engines_on_gpu)
        digests = sorted(checkpoints.verify(folder).digest for folder in folders)
        checkpoint_files.write_record(directory, {"average_of": digests})

    return checkpoints.publish(write, target.parent, target.name, needed_bytes=facts.bytes)


def _require_one_model(sources: Mapping[str, Path]) -> None:
    (first, known), *others = ((name, _shape(folder)) for name, folder in sources.items())
    for name, shape in others:
        different = sorted(key for key in {*known, *shape} if known.get(key) != shape.get(key))
        if different:
            raise ConflictError(
                f"the checkpoints of {first} and {name} differ in {', '.join(different[:5])}",
                expected="checkpoints of one model, with equal shapes and tokenizers",
                next_move="Average runs that started from the same model",
            )


def _shape(folder: Path) -> dict[str, str]:
    """Shape and precision of every weight, and what the tokenizer's files are, by name."""
    facts = inspect_model(folder)
    found = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in _TOKENIZER
        if (folder / name).is_file()
    }
    for name in facts.weight_files:
        with (folder / name).open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        found |= {key: f"{value['dtype']} {value['shape']}" for key, value in header.items() if key != "__metadata__"}
    return found


def _write_mean(folders: Sequence[Path], name: str, directory: Path) -> None:
    """Writes one file of weights, tensor by tensor. The other checkpoints may divide their weights differently."""
    places = [_places(folder) for folder in folders]
    means: dict[str, torch.Tensor] = {}
    with safe_open(folders[0] / name, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118 - it is no dict
            first = file.get_tensor(key)
            total = first.float()
            for folder, place in zip(folders[1:], places[1:], strict=True):
                with safe_open(folder / place[key], framework="pt") as other:
                    total += other.get_tensor(key).float()
            means[key] = (total / len(folders)).to(first.dtype)
    (directory / name).parent.mkdir(parents=True, exist_ok=True)
    save_file(means, directory / name, metadata={"format": "pt"})


def _places(folder: Path) -> dict[str, str]:
    """The file of each weight."""
    places: dict[str, str] = {}
    for name in inspect_model(folder).weight_files:
        with safe_open(folder / name, framework="pt") as file:
            places |= dict.fromkeys(file.keys(), name)
    return places
