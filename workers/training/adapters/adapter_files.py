"""The adapter beside a checkpoint's merged weights: what engines load in their place (`training.lora.serve`).

It holds the sum of all updates since its *base*, the policy whose weights the engines have below it. An iteration
trains a new update on the merged weights of the last policy. A sum of low-rank updates is again one, whose rank is the
sum of theirs, so the new update's matrices are put beside those of the last policy's adapter.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eva.solver.manifest import CANARY
from eva.types import Checkpoint, TrainingJob
from workers.training.checkpoints import verify_part

if TYPE_CHECKING:
    from peft import PeftModel

ADAPTER = "adapter"
"""The folder inside a checkpoint that has its adapter, in PEFT's layout."""
_BASE, _CONFIG, _TENSORS = "base.json", "adapter_config.json", "adapter_model.safetensors"
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True, slots=True)
class Adapter:
    """The adapter of a checkpoint. `base`: the checkpoint that it is added to."""

    folder: Path
    rank: int
    base: Checkpoint


def read_adapter(policy: Checkpoint) -> Adapter | None:
    """Returns the adapter of a checkpoint in a folder, None if it has none. Raises CheckpointError if it is damaged."""
    folder = Path(policy.path) / ADAPTER
    if not folder.is_dir():
        return None
    verify_part(Path(policy.path), policy.digest, lambda file: file == CANARY or file.startswith(f"{ADAPTER}/"))
    base = json.loads((folder / _BASE).read_text(encoding="utf-8"))
    rank = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))["r"]
    place = _base_folder(Path(policy.path), base["path"])
    return Adapter(folder, int(rank), Checkpoint(base["number"], base["iteration"], str(place), base["digest"]))


def _base_folder(policy: Path, recorded: str) -> Path:
    """Where the base is: recorded from the run's folder, above its policies and those inside an iteration."""
    places = [Path(os.path.normpath(above / recorded)) for above in policy.parents]
    return next((place for place in places if place.is_dir()), places[0])


def new_update(policy: PeftModel) -> Mapping[str, Any]:
    """Returns the matrices that training has added to a policy, by PEFT's names, in float32 on the CPU.

    The scale of the update is in its second matrix.
    """
    from peft.utils import get_peft_model_state_dict

    adapter: Any = policy.peft_config["default"]
    scale = adapter.lora_alpha / adapter.r
    return {
        name: (weights.detach().cpu().float() * (scale if name.endswith(_UP) else 1.0)).contiguous()
        for name, weights in get_peft_model_state_dict(policy).items()
    }


def write_adapter(update: Mapping[str, Any], job: TrainingJob, directory: Path, dtype: str) -> None:
    """Writes into a new checkpoint's `directory` the adapter of a policy that has this update over the job's policy.

    It adds to the adapter of the job's policy, if that is the run's own and adapts the same modules. Otherwise the
    job's policy is its base, as it is for a fork's first training.
    """
    import torch
    from safetensors.torch import load_file, save_file

    own = Path(job.policy.path).parent == Path(job.folder)
    base, earlier = job.policy, read_adapter(job.policy) if own else None
    if earlier is not None:
        stored = load_file(earlier.folder / _TENSORS)
        if stored.keys() == update.keys():
            base = earlier.base
            update = {
                name: torch.cat([stored[name].float(), weights], dim=1 if name.endswith(_UP) else 0)
                for name, weights in update.items()
            }
    folder = directory / ADAPTER
    folder.mkdir()
    save_file(
        {name: weights.to(getattr(torch, dtype)).contiguous() for name, weights in sorted(update.items())},
        folder / _TENSORS,
        metadata={"format": "pt"},
    )
    rank = next(weights.shape[0] for name, weights in update.items() if name.endswith(_DOWN))
    modules = sorted({name.split(".")[-3] for name in update})
    _write_json(
        folder / _CONFIG,
        {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "r": rank,
            "lora_alpha": rank,
            "lora_dropout": 0.0,
            "target_modules": modules,
            "bias": "none",
            "base_model_name_or_path": None,
            "inference_mode": True,
        },
    )
    place = os.path.relpath(base.path, job.folder)
    _write_json(
        folder / _BASE,
        {"path": place, "digest": base.digest, "number": base.number, "iteration": base.iteration},
    )


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2), encoding="utf-8")
