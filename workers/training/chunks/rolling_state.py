"""The rolling state of semi-online training: trained weights and the optimiser's state, in safetensors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from eva.types import TrainingStep
from workers.training import checkpoints

if TYPE_CHECKING:
    from workers.training.losses import LossTrainer

_TENSORS, _PROGRESS = "state.safetensors", "state.json"
_WEIGHT, _OPTIMISER = "weight.", "optimiser."


@dataclass(frozen=True, slots=True, eq=False)
class StoredState:
    """A trainer after a chunk. Draws are not stored: every chunk has a seed of its own.

    `learned`: digests of the files of pairs so far. `planned`: the steps that were planned for them. `carried`: how
    many of their last rows filled no batch. `tensors`: trained weights and the optimiser's state by name, empty before
    the first step.
    """

    learned: tuple[str, ...]
    steps: tuple[TrainingStep, ...]
    dropped: Mapping[str, int]
    planned: int
    carried: int
    tensors: Mapping[str, torch.Tensor]


def state_tensors(trainer: LossTrainer) -> dict[str, torch.Tensor]:
    """Returns copies of the trained weights and of the optimiser's state, on the CPU."""
    weights = {_WEIGHT + name: weight for name, weight in trainer.model.named_parameters() if weight.requires_grad}
    optimiser = {
        f"{_OPTIMISER}{index}.{name}": torch.as_tensor(value)
        for index, values in trainer.optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }
    return {name: value.detach().cpu().clone() for name, value in (weights | optimiser).items()}


def restore_state(trainer: LossTrainer, stored: StoredState) -> None:
    """Gives a new trainer the weights and the optimiser's state. Its optimiser exists already."""
    with torch.no_grad():
        for name, weight in trainer.model.named_parameters():
            if weight.requires_grad:
                weight.copy_(stored.tensors[_WEIGHT + name])
    state: dict[int, dict[str, Any]] = {}
    for name, value in stored.tensors.items():
        if name.startswith(_OPTIMISER):
            index, _, key = name.removeprefix(_OPTIMISER).partition(".")
            state.setdefault(int(index), {})[key] = value
    groups = trainer.optimizer.state_dict()["param_groups"]
    trainer.optimizer.load_state_dict({"state": state, "param_groups": groups})


def publish_state(state: StoredState, folder: Path, identity: str) -> None:
    """Publishes a state, with a manifest, in the iteration's folder; removes the older ones. Raises DiskFullError."""
    name = _name(len(state.learned), identity)

    def write(directory: Path) -> None:
        save_file(dict(state.tensors), directory / _TENSORS)
        progress = {
            "learned": state.learned,
            "steps": [asdict(step) for step in state.steps],
            "dropped": dict(state.dropped),
            "planned": state.planned,
            "carried": state.carried,
        }
        (directory / _PROGRESS).write_text(json.dumps(progress))

    size = sum(tensor.nbytes for tensor in state.tensors.values())
    checkpoints.publish(write, folder, name, needed_bytes=size)
    for other in folder.glob("chunk-*"):
        if other.name != name:
            shutil.rmtree(other, ignore_errors=True)


def newest_state(folder: Path, identity: str, learned: list[str]) -> StoredState | None:
    """Returns the newest whole state of this iteration whose chunks begin those of `learned`, None without one."""
    for count in range(len(learned), 0, -1):
        place = folder / _name(count, identity)
        if place.is_dir() and checkpoints.is_valid(place):
            progress = json.loads((place / _PROGRESS).read_text())
            if progress["learned"] == learned[:count]:
                return StoredState(
                    tuple(progress["learned"]),
                    tuple(TrainingStep(step["step"], step["values"]) for step in progress["steps"]),
                    progress["dropped"],
                    progress["planned"],
                    progress["carried"],
                    load_file(place / _TENSORS),
                )
    return None


def _name(chunks: int, identity: str) -> str:
    return f"chunk-{chunks:04d}-{identity[:16]}"
