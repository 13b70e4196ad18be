"""Compares what a training job takes of each GPU, measured on fake tensors, with the GPU's memory and the arithmetic.

    python -m benchmarks.memory [JOB ...] [--json]

The measurement (`benchmarks/fake_training.py`) runs the job's own model, head and division of weights; the arithmetic
(`eva/capacity/training_memory.py`) is what a dry run and `eva doctor` print. A job fits if its peak, with what CUDA and
NCCL take, is below its GPU's memory. The arithmetic of a step must be within 10 % of what was measured, or the command
fails. A job of 9B takes minutes of a core.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from transformers import Gemma2Config, LlamaConfig, PretrainedConfig, Qwen2Config

from benchmarks.fake_training import Measured, measure
from benchmarks.measuring import parser
from eva.capacity.shapes import shape_of
from eva.capacity.training_memory import OVERHEAD, setup_of, step_memory
from eva.config import Training
from eva.config.files import load_config

TOLERANCE = 0.1
GEMMA_9B = Gemma2Config(
    vocab_size=256_000,
    hidden_size=3584,
    intermediate_size=14_336,
    num_hidden_layers=42,
    num_attention_heads=16,
    num_key_value_heads=8,
    head_dim=256,
    query_pre_attn_scalar=256,
    max_position_embeddings=8192,
)
LLAMA_70B = LlamaConfig(
    vocab_size=128_256,
    hidden_size=8192,
    intermediate_size=28_672,
    num_hidden_layers=80,
    num_attention_heads=64,
    num_key_value_heads=8,
    max_position_embeddings=8192,
    tie_word_embeddings=False,
)
QWEN_1_5B = Qwen2Config(
    vocab_size=151_936,
    hidden_size=1536,
    intermediate_size=8960,
    num_hidden_layers=28,
    num_attention_heads=12,
    num_key_value_heads=2,
    max_position_embeddings=32_768,
    tie_word_embeddings=True,
)
TINY = LlamaConfig(
    vocab_size=2000,
    hidden_size=512,
    intermediate_size=2048,
    num_hidden_layers=3,
    num_attention_heads=8,
    num_key_value_heads=4,
    tie_word_embeddings=False,
)


@dataclass(frozen=True)
class Job:
    """A training on GPUs with `gpu_gb` GB each."""

    model: PretrainedConfig
    training: Training
    gpu_gb: float


def jobs() -> dict[str, Job]:
    """The jobs by name: presets, the sizes beyond them, and a tiny one to try this on."""
    seventy = Training(devices=32, batch=32, per_device_batch=1, max_length=2048)
    tiny = Training(devices=4, batch=4, per_device_batch=1, max_length=1024)
    return {
        "paper-dpo": Job(GEMMA_9B, load_config("paper-dpo").training, 80),
        "paper-sppo": Job(GEMMA_9B, load_config("paper-sppo").training, 80),
        "70b": Job(LLAMA_70B, seventy, 80),
        "small-24gb": Job(QWEN_1_5B, load_config("small-24gb").training, 24),
        "tiny": Job(TINY, tiny, 6),
    }


@dataclass(frozen=True)
class Row:
    """A job's figures in GB: measured and computed peaks without what CUDA takes, and the GPU's memory."""

    job: str
    step: float
    optimiser: float
    computed: float
    limit: float

    @property
    def measured(self) -> float:
        return self.step + self.optimiser

    @property
    def ratio(self) -> float:
        """The computed peak, as a share of the measured one."""
        return self.computed / self.measured

    @property
    def verdict(self) -> str:
        """`fits`, or what is wrong."""
        if self.measured + OVERHEAD / 1e9 > self.limit:
            return "MISSED: it does not fit"
        return "fits" if abs(self.ratio - 1) <= TOLERANCE else f"MISSED: the arithmetic is off by over {TOLERANCE:.0%}"


def compare(name: str, job: Job) -> Row:
    shape = shape_of(job.model.to_dict())
    if shape is None:
        raise SystemExit(f"the arithmetic does not know the shape of {name}")
    attention = "eager" if shape.soft_capped else "sdpa"
    measured: Measured = measure(job.model, job.training, attention=attention)
    computed = step_memory(shape, setup_of(job.training)).total - OVERHEAD
    return Row(name, measured.step / 1e9, measured.optimiser / 1e9, computed / 1e9, job.gpu_gb)


def parse(known: Mapping[str, Job]) -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("jobs", nargs="*", metavar="JOB", help=f"{', '.join(known)}; default: all but tiny")
    options = made.parse_args()
    if unknown := sorted({*options.jobs} - {*known}):
        made.error(f"there is no job {', '.join(unknown)}; there are {', '.join(known)}")
    return options


def main() -> int:
    known = jobs()
    options = parse(known)
    torch.set_num_threads(1)
    rows = [compare(name, known[name]) for name in options.jobs or [name for name in known if name != "tiny"]]
    if options.json:
        print(json.dumps([{**vars(row), "measured": row.measured, "verdict": row.verdict} for row in rows]))
    else:
        print(f"{'job':<14}{'step':>9}{'optimiser':>11}{'peak':>8}{'arithmetic':>12}{'ratio':>7}{'GPU':>8}   (GB)")
        for row in rows:
            figures = f"{row.step:9.2f}{row.optimiser:11.2f}{row.measured:8.2f}{row.computed:12.2f}"
            print(f"{row.job:<14}{figures}{row.ratio:7.2f}{row.limit:8.0f}   {row.verdict}")
    return 0 if all(row.verdict == "fits" for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
