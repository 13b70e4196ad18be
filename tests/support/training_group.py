"""Trains on a group of processes without Ray: `python -m tests.support.training_group RANK SPECIFICATION`.

The specification is JSON: `store`, a file for the group to meet at; `world`; `gpu`, if each process has one; `jobs`,
each with `job`, `training`, `model` and the folder `out` for the policy's files and the steps.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed

from eva.config import Model, Training
from eva.types import Checkpoint, SamplingSettings, TrainingJob
from workers.training import checkpoint_files
from workers.training.optimisation import OptimisationResult, optimise, silence_libraries


def write_result(optimised: OptimisationResult, job: TrainingJob, out: Path) -> None:
    """Writes what the first process returns: the policy's files, and the steps."""
    out.mkdir(parents=True)
    checkpoint_files.write_policy(optimised.policy, Path(job.policy.path), out, "float32")
    (out / "steps.json").write_text(json.dumps([dict(step.values) for step in optimised.steps]))


def read_job(raw: dict[str, Any]) -> TrainingJob:
    policy, reference = (Checkpoint(**raw[name]) for name in ("policy", "reference"))
    sampling = raw["sampling"] and SamplingSettings(**raw["sampling"])
    return TrainingJob(**{**raw, "policy": policy, "reference": reference, "sampling": sampling})


def main(arguments: Sequence[str]) -> None:
    rank, specification = int(arguments[0]), json.loads(Path(arguments[1]).read_text())
    world = specification["world"]
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world)}
    torch.set_num_threads(1)
    silence_libraries()
    store, gpu = f"file://{specification['store']}", bool(specification.get("gpu"))
    if gpu:
        torch.cuda.set_device(rank)
    backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
    torch.distributed.init_process_group(backend, init_method=store, rank=rank, world_size=world)
    for asked in specification["jobs"]:
        job, training = read_job(asked["job"]), Training.model_validate(asked["training"])
        optimised = optimise(job, training, Model.model_validate(asked["model"]), gpu=gpu)
        assert (optimised.policy is not None) == (rank == 0 or training.sharding == "ddp")
        if rank == 0:
            write_result(optimised, job, Path(asked["out"]))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1:])
