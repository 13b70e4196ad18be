"""GPUs with their memory and speed, and the machines that a run may use."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from eva.errors import ConfigError

GB = 10**9


@dataclass(frozen=True, slots=True)
class Gpu:
    """A kind of GPU: memory in bytes, dense bfloat16 operations per second, bytes per second from its memory."""

    name: str
    memory: int
    flops: float
    bandwidth: float


GPUS = tuple(
    Gpu(name, memory * GB, tera * 1e12, bandwidth * 1e12)
    for name, memory, tera, bandwidth in (
        ("B200", 180, 2250, 8.0),
        ("H200", 141, 989, 4.8),
        ("H100", 80, 989, 3.35),
        ("A100", 80, 312, 2.04),
        ("A100-40GB", 40, 312, 1.56),
        ("L40S", 48, 362, 0.86),
        ("A6000", 48, 155, 0.77),
        ("A10", 24, 125, 0.6),
        ("L4", 24, 121, 0.3),
        ("4090", 24, 165, 1.01),
        ("3090", 24, 71, 0.94),
        ("T4", 16, 65, 0.32),
    )
)
"""Dense bfloat16 (T4: float16) figures of the vendors' data sheets. A name counts if a GPU's own name contains it."""


@dataclass(frozen=True, slots=True)
class Node:
    """A machine: its GPUs, and the main memory that is available, bytes; None: not known."""

    gpus: int
    host_memory: int | None = None


@dataclass(frozen=True, slots=True)
class Machines:
    """The machines that a run may use. `gpu` is None where there is none, or where its kind is not known.

    `found`: on this machine, in the connected Ray cluster, or as the user says. `free_disk`: bytes for checkpoints.
    `free_gpus`: those that nobody uses now, where that is known.
    """

    nodes: tuple[Node, ...]
    gpu: Gpu | None = None
    found: Literal["here", "cluster", "told"] = "told"
    cores: int = 2
    free_disk: int | None = None
    free_gpus: float | None = None

    @property
    def gpus(self) -> int:
        return sum(node.gpus for node in self.nodes)

    def __str__(self) -> str:
        where = {"here": "this machine", "cluster": "the cluster", "told": "these machines"}[self.found]
        if self.gpus == 0:
            return f"{where} ({self.cores} cores, no GPU)"
        kind = f"{self.gpu.name}, {self.gpu.memory / GB:.0f} GB" if self.gpu else "of unknown memory"
        nodes = f" on {len(self.nodes)} nodes" if len(self.nodes) > 1 else ""
        return f"{where} ({self.gpus} x {kind}{nodes})"


def gpu_named(name: str, memory: int | None = None) -> Gpu | None:
    """The kind of GPU that this name or memory (bytes) belongs to; its memory is the one that was measured.

    Without a known name the speed is that of a kind with about this memory. None if neither is known.
    """
    flat = name.upper().replace(" ", "")
    matches = [gpu.name for gpu in GPUS if gpu.name.upper() in flat]
    longest = max(matches, key=len, default=None)
    if memory is None:
        return next((gpu for gpu in GPUS if gpu.name == longest), None)
    named = [] if longest is None else [gpu for gpu in GPUS if gpu.name.startswith(longest)]
    kind = min(named or GPUS, key=lambda gpu: abs(gpu.memory - memory))
    return Gpu(name or kind.name, memory, kind.flops, kind.bandwidth)


def parse_machines(text: str) -> Machines:
    """Machines as a user writes them: `8x80` (GPUs x GB), `8xH100`, `4:8x80` (on four nodes). Raises ConfigError."""
    match = re.fullmatch(r"(?:(\d+):)?(\d+)x([A-Za-z0-9-]+)", text.strip())
    if match is not None:
        nodes, count, kind = int(match[1] or 1), int(match[2]), match[3]
        gpu = gpu_named("", int(kind) * GB) if kind.isdecimal() else gpu_named(kind)
        if gpu is not None and 0 < nodes <= 1000 and count > 0 and gpu.memory >= GB:
            name = f"like {gpu.name}" if kind.isdecimal() else gpu.name
            return Machines((Node(count),) * nodes, Gpu(name, gpu.memory, gpu.flops, gpu.bandwidth))
    raise ConfigError(
        f"--gpus is {text[:60]!r}",
        expected="GPUs x GB as 8x80, GPUs x kind as 8xH100, with nodes as 4:8x80; "
        f"kinds: {', '.join(gpu.name for gpu in GPUS)}",
        next_move="Write it in one of these forms",
    )
