"""The rolling state of semi-online training: trained weights and the optimiser's state, in safetensors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback
from typing_extensions import override

from eva.types import TrainingStep
from workers.training import checkpoints

_PROGRESS = "state.json"
_WEIGHT, _OPTIMISER = "weight.", "optimiser."


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a trainer has come in its iteration. Draws are not stored: every chunk has a seed of its own.

    `learned`: digests of the files of pairs so far. `planned`: the steps that were planned for them. `carried`: how
    many of their last rows filled no batch.
    """

    learned: tuple[str, ...]
    steps: tuple[TrainingStep, ...]
    dropped: Mapping[str, int]
    planned: int
    carried: int


@dataclass(frozen=True, slots=True)
class StoredState:
    """A trainer after a chunk: how far it had come, and the folder of its tensors."""

    progress: Progress
    folder: Path


def write_tensors(trainer: Any, directory: Path, rank: int) -> None:
    """Writes this process's part of the trained weights and of the optimiser's state.

    Processes that divide the weights among them all write; of others the first is enough.
    """
    weights = {_WEIGHT + name: weight for name, weight in trainer.model.named_parameters() if weight.requires_grad}
    optimiser = {
        f"{_OPTIMISER}{index}.{name}": torch.as_tensor(value)
        for index, values in trainer.optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }
    own = {name: _own_part(value.detach()).cpu().clone() for name, value in (weights | optimiser).items()}
    save_file(own, directory / _part(rank))


class RestoreTensors(TrainerCallback):
    """Gives a trainer the stored weights and optimiser's state when it begins, and has prepared its model for that."""

    def __init__(self, folder: Path, rank: int) -> None:
        self._file = folder / _part(rank)

    @override
    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the trainer before its first step."""
        model, optimiser = kwargs["model"], kwargs["optimizer"]
        stored = load_file(self._file)
        trained = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
        with torch.no_grad():
            for name, weight in trained:
                _own_part(weight).copy_(stored[_WEIGHT + name])
        weights = [weight for group in optimiser.param_groups for weight in group["params"]]
        values: dict[int, dict[str, Any]] = {}
        for name, value in stored.items():
            if name.startswith(_OPTIMISER):
                index, _, key = name.removeprefix(_OPTIMISER).partition(".")
                values.setdefault(int(index), {})[key] = _divided_like(weights[int(index)], value)
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": values, "param_groups": groups})


def _own_part(value: torch.Tensor) -> torch.Tensor:
    return value.to_local() if isinstance(value, DTensor) else value


def _divided_like(weight: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """This process's part of a state, as a part of a whole that is divided as its weight is. A count stays as it is."""
    if not isinstance(weight, DTensor) or own.shape != weight.to_local().shape:
        return own
    return DTensor.from_local(
        own, weight.device_mesh, weight.placements, run_check=False, shape=weight.shape, stride=weight.stride()
    )


def _part(rank: int) -> str:
    return f"state-{rank:05d}.safetensors"


def write_progress(progress: Progress, directory: Path) -> None:
    """Writes how far the trainer has come."""
    (directory / _PROGRESS).write_text(json.dumps(asdict(progress)))


def read_progress(directory: Path) -> Progress:
    """Reads what `write_progress` has written."""
    values = json.loads((directory / _PROGRESS).read_text())
    steps = tuple(TrainingStep(step["step"], step["values"]) for step in values["steps"])
    return Progress(tuple(values["learned"]), steps, values["dropped"], values["planned"], values["carried"])


def publish_state(write: Callable[[Path], None], learned: int, folder: Path, identity: str) -> None:
    """Publishes a state after so many chunks, with a manifest, in the iteration's folder; removes the older ones.

    Raises DiskFullError.
    """
    name = _name(learned, identity)
    checkpoints.publish(write, folder, name)
    for other in folder.glob("chunk-*"):
        if other.name != name:
            shutil.rmtree(other, ignore_errors=True)


def newest_state(folder: Path, identity: str, learned: list[str]) -> StoredState | None:
    """Returns the newest whole state of this iteration whose chunks begin those of `learned`, None without one."""
    for count in range(len(learned), 0, -1):
        place = folder / _name(count, identity)
        if place.is_dir() and checkpoints.is_valid(place):
            progress = read_progress(place)
            if [*progress.learned] == learned[:count]:
                return StoredState(progress, place)
    return None


def _name(chunks: int, identity: str) -> str:
    return f"chunk-{chunks:04d}-{identity[:16]}"
