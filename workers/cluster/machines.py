"""Finds the machines that a run may use: this one, or those of the Ray cluster that this process is connected to."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eva.capacity.machines import Gpu, Machines, Node, gpu_named

_QUERY = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
_QUERY_S = 20
_LABEL = "accelerator_type:"


def machines_here(data_dir: Path, host_memory: int) -> Machines:
    """This machine: its GPUs as the driver sees them, its available memory (bytes), and the free disk at `data_dir`."""
    gpus = visible_gpus(_listed(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    folder = next(path for path in (data_dir, *data_dir.parents) if path.exists())
    return Machines(
        (Node(len(gpus), host_memory),),
        min(gpus, key=lambda gpu: gpu.memory, default=None),
        "here",
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        shutil.disk_usage(folder).free,
    )


def machines_of_cluster(nodes: Sequence[dict[str, Any]] | None = None) -> Machines:
    """The machines of a Ray cluster (`ray.nodes()`). Ray names the kind of a GPU, but not its memory."""
    import ray  # loaded late: machines_here does not need it

    free = ray.available_resources().get("GPU", 0.0) if nodes is None else None
    alive = [node for node in (ray.nodes() if nodes is None else nodes) if node["Alive"]]
    resources: list[dict[str, float]] = [node["Resources"] for node in alive]
    kinds = {name.removeprefix(_LABEL) for each in resources for name in each if name.startswith(_LABEL)}
    known = [gpu for gpu in (gpu_named(_kind(kind)) for kind in sorted(kinds)) if gpu is not None]
    return Machines(
        tuple(Node(int(each.get("GPU", 0)), int(each.get("memory", 0)) or None) for each in resources),
        min(known, key=lambda gpu: gpu.memory, default=None),
        "cluster",
        int(sum(each.get("CPU", 0) for each in resources)) or 1,
        free_gpus=free,
    )


def visible_gpus(lines: str, visible: str | None) -> list[Gpu]:
    """The GPUs that nvidia-smi lists, without those that CUDA_VISIBLE_DEVICES hides."""
    rows = [line.rpartition(",") for line in lines.splitlines() if line.count(",") == 1]
    gpus = [gpu_named(name.strip(), int(size) * 2**20) for name, _, size in rows if size.strip().isdecimal()]
    shown = None if visible is None else [part for part in visible.split(",") if part.strip() not in ("", "-1")]
    count = len(gpus) if shown is None else len(shown)
    return [gpu for gpu in gpus if gpu is not None][:count]


def _kind(label: str) -> str:
    """Ray's label as a kind of ours: A100-80G is our A100, and a bare A100 the one with 40 GB."""
    return {"A100": "A100-40GB", "A100-40G": "A100-40GB", "A100-80G": "A100"}.get(label, label)


def _listed() -> str:
    if shutil.which(_QUERY[0]) is None:
        return ""
    try:
        return subprocess.run(_QUERY, capture_output=True, text=True, check=True, timeout=_QUERY_S).stdout
    except (subprocess.SubprocessError, OSError):
        return ""
