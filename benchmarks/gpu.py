"""Measures training on one GPU: speed and memory at the paper's sizes, with random weights made on the device.

    python -m benchmarks.gpu [--out FOLDER] [--minutes 10] [--parts attention,reference,adapters,canary,checkpoint]
                             [--small]

Parts, in this order; a part that does not fit into the time, the memory or the disk is left out, and the table says so.
    attention   DPO of all weights of a model of Gemma 2 2B's shape, 20 steps with eager and with flex attention
    reference   scoring with a model of Gemma 2 9B's shape, for several numbers of tokens at a time
    adapters    DPO steps with adapters on 9B's shape, two rows of 2,048 tokens
    canary      log-probabilities of the playground's model: float32 on the CPU, bfloat16 on the GPU
    checkpoint  writing, flushing, hashing and loading a checkpoint of 9B's shape
Results go to FOLDER/gpu.json, after each part. `--small` runs the same parts on tiny shapes, on a CPU as well, to try
this script; its figures mean nothing.
"""

from __future__ import annotations

import gc
import json
import shutil
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    PretrainedConfig,
    PrinterCallback,
    TrainerCallback,
)
from typing_extensions import override

from eva.config import Training
from eva.config.solver import Lora
from workers.models.model_folder import resolve_model
from workers.training import checkpoint_files, checkpoints
from workers.training.arguments import trainer_arguments
from workers.training.canary import measure
from workers.training.losses import Ingredients, Reference, find_loss
from workers.training.losses.reference_scores import reference_batches
from workers.training.optimisation import silence_libraries
from workers.training.policies import add_adapters, place_reference

BF16_TFLOPS = {"H100": 989, "H200": 989, "A100": 312, "L40S": 362, "L4": 121, "4090": 165, "B200": 2250}
"""Dense bfloat16 operations per second of a GPU whose name contains the key, in 10^12, as its maker says."""
WARM_UP = 3
"""Steps before the first that is timed: kernels are compiled and memory is reserved in them."""


@dataclass(frozen=True)
class Sizes:
    """What the parts run at."""

    small: PretrainedConfig
    large: PretrainedConfig
    length: int
    steps: int
    budgets: tuple[int, ...]


@dataclass
class Table:
    """Rows of (what, value, unit), and what was left out and why. Written after each part."""

    device: str
    rows: list[tuple[str, float, str]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def add(self, what: str, value: float, unit: str) -> None:
        self.rows.append((what, round(value, 4), unit))
        print(f"  {what:<58} {value:12,.4g} {unit}", flush=True)

    def leave_out(self, what: str) -> None:
        self.left_out.append(what)
        print(f"  left out: {what}", flush=True)

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        facts = {"device": self.device, "torch": torch.__version__, "rows": self.rows, "left_out": self.left_out}
        (folder / "gpu.json").write_text(json.dumps(facts, indent=1))


def gemma2(*, layers: int, hidden: int, intermediate: int, heads: int, kv_heads: int, vocabulary: int) -> Gemma2Config:
    return Gemma2Config(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=256 if hidden > 1000 else 32,
        query_pre_attn_scalar=256 if hidden > 1000 else 32,
        max_position_embeddings=8192,
    )


REAL = Sizes(
    gemma2(layers=26, hidden=2304, intermediate=9216, heads=8, kv_heads=4, vocabulary=256_000),
    gemma2(layers=42, hidden=3584, intermediate=14_336, heads=16, kv_heads=8, vocabulary=256_000),
    2048,
    20,
    (8192, 32_768, 65_536),
)
TINY = Sizes(
    gemma2(layers=2, hidden=64, intermediate=128, heads=2, kv_heads=2, vocabulary=512),
    gemma2(layers=2, hidden=96, intermediate=128, heads=2, kv_heads=2, vocabulary=512),
    64,
    WARM_UP + 2,
    (128, 512),
)


class Clock(TrainerCallback):
    """Notes when each optimiser step ends."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    @override
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        synchronise()
        self.ends.append(time.perf_counter())


def on_gpu() -> bool:
    return torch.cuda.is_available()


def device() -> torch.device:
    return torch.device("cuda" if on_gpu() else "cpu")


def synchronise() -> None:
    if on_gpu():
        torch.cuda.synchronize()


def forget() -> None:
    """Frees what an earlier part left, and counts the peak anew."""
    gc.collect()
    if on_gpu():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gb() -> float:
    return torch.cuda.max_memory_allocated() / 1e9 if on_gpu() else 0.0


def fresh(config: PretrainedConfig, dtype: torch.dtype, attention: str = "eager") -> Any:
    """A model with random weights, made on the device."""
    torch.manual_seed(0)
    with device():
        return AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention).eval()


def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(resolve_model("playground"))


def rows(count: int, length: int, vocabulary: int) -> tuple[dict[str, Any], ...]:
    """Pairs of random tokens whose rows are all `length` long."""
    draw = torch.Generator().manual_seed(1)

    def ids(size: int) -> list[int]:
        return torch.randint(6, min(vocabulary, 30_000), (size,), generator=draw).tolist()

    prompt = length // 4
    return tuple(
        {"prompt_ids": ids(prompt), "chosen_ids": ids(length - prompt), "rejected_ids": ids(length - prompt)}
        for _ in range(count)
    )


def train(policy: Any, reference: Reference, training: Training, steps: int, length: int) -> Clock:
    """Trains on one pair a step, by the trainer that a job uses."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as scratch:
        arguments = trainer_arguments(training, seed=0, n_devices=1, gpu=on_gpu(), output_dir=scratch)
        encoded = rows(steps, length, policy.config.get_text_config().vocab_size)
        trainer = find_loss("dpo")(Ingredients(policy, reference, tokenizer(), encoded, training, arguments, (clock,)))
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        trainer.accelerator.free_memory()
    return clock


def tokens_per_second(clock: Clock, length: int) -> float:
    timed = clock.ends[WARM_UP:]
    return (len(timed) - 1) * 2 * length / (timed[-1] - timed[0])


def share_of_peak(rate: float, parameters: int) -> float | None:
    """6 operations per parameter and token, and 2 more for the activations that are computed again."""
    name = torch.cuda.get_device_name() if on_gpu() else ""
    peak = next((value for key, value in BF16_TFLOPS.items() if key in name), None)
    return None if peak is None else rate * parameters * 8 / (peak * 1e12)


def attention(sizes: Sizes, table: Table) -> None:
    training = Training(batch=1, per_device_batch=1, max_steps=sizes.steps, max_length=sizes.length)
    for name in ("eager", "flex_attention") if on_gpu() else ("eager",):
        forget()
        policy = fresh(sizes.small, torch.float32, name)
        parameters = policy.num_parameters()
        reference = Reference(lambda name=name: fresh(sizes.small, torch.bfloat16, name), sizes.budgets[0])
        rate = tokens_per_second(train(policy, reference, training, sizes.steps, sizes.length), sizes.length)
        table.add(f"2B, all weights, {name}: training", rate, "tokens/s")
        if (share := share_of_peak(rate, parameters)) is not None:
            table.add(f"2B, all weights, {name}: share of the GPU's peak", share, "")
        table.add(f"2B, all weights, {name}: peak memory", peak_gb(), "GB")
        del policy


def reference(sizes: Sizes, table: Table) -> None:
    accelerator = Accelerator(cpu=not on_gpu(), mixed_precision="bf16" if on_gpu() else "no")
    model = place_reference(fresh(sizes.large, torch.bfloat16), accelerator)
    encoded = rows(max(4, 4 * sizes.budgets[-1] // (2 * sizes.length)), sizes.length, sizes.large.vocab_size)
    ids = [torch.tensor([row["prompt_ids"] + row[side] for side in ("chosen_ids", "rejected_ids")]) for row in encoded]
    for budget in sizes.budgets:
        forget()
        began, scored = 0.0, 0
        for number, indices in enumerate(reference_batches([sizes.length] * len(ids), pairs=1, tokens=budget)):
            batch = torch.cat([ids[index] for index in indices]).to(device())
            with torch.no_grad(), accelerator.autocast():
                model(input_ids=batch, attention_mask=torch.ones_like(batch), labels=batch, fused_lm_head=True)
            synchronise()
            if number == 0:
                began = time.perf_counter()
            else:
                scored += batch.numel()
        if scored:
            rate = scored / (time.perf_counter() - began)
            table.add(f"9B, reference, {budget:,} tokens at a time", rate, "tokens/s")
            table.add(f"9B, reference, {budget:,} tokens at a time: peak memory", peak_gb(), "GB")
    del model


def adapters(sizes: Sizes, table: Table) -> None:
    forget()
    steps = WARM_UP + 4
    training = Training(
        batch=1, per_device_batch=1, max_steps=steps, max_length=sizes.length, lora=Lora(rank=16), learning_rate=1e-5
    )
    half = torch.bfloat16 if on_gpu() else torch.float32
    policy = add_adapters(fresh(sizes.large, half), Lora(rank=16))
    clock = train(policy, Reference(lambda: fresh(sizes.large, half), sizes.budgets[0]), training, steps, sizes.length)
    table.add("9B, adapters: training", tokens_per_second(clock, sizes.length), "tokens/s")
    table.add("9B, adapters: peak memory, the reference included", peak_gb(), "GB")
    del policy


def canary(sizes: Sizes, table: Table) -> None:
    del sizes
    forget()
    folder = resolve_model("playground")
    exact, rounded = checkpoint_files.load_policy(folder), checkpoint_files.load_policy(folder, dtype="bfloat16")
    draw = torch.Generator().manual_seed(3)
    sequences = [torch.randint(6, 40, (24,), generator=draw).tolist() for _ in range(8)]
    differences = [
        abs(a - b)
        for ids in sequences
        for a, b in zip(measure(exact, ids), measure(rounded.to(device()), ids), strict=True)
    ]
    table.add("playground, bfloat16 against float32: largest difference", max(differences), "nats")
    table.add("playground, bfloat16 against float32: mean difference", sum(differences) / len(differences), "nats")


def checkpoint(sizes: Sizes, table: Table) -> None:
    forget()
    folder = Path(tempfile.mkdtemp(prefix="eva-gpu-"))
    try:
        model = fresh(sizes.large, torch.bfloat16).cpu()
        size = 2 * model.num_parameters()
        if shutil.disk_usage(folder).free < 1.1 * size:
            table.leave_out(f"checkpoint: {folder} has no room for {size / 1e9:.0f} GB")
            return
        source, target = folder / "source", folder / "checkpoint"
        source.mkdir()
        target.mkdir()
        began = time.perf_counter()
        checkpoint_files.write_policy(model, source, target, "bfloat16")
        written = time.perf_counter()
        checkpoints.seal(target)
        sealed = time.perf_counter()
        del model
        gc.collect()
        AutoModelForCausalLM.from_pretrained(target, dtype=torch.bfloat16)
        loaded = time.perf_counter()
        table.add("9B, checkpoint: size", size / 1e9, "GB")
        table.add("9B, checkpoint: writing", written - began, "s")
        table.add("9B, checkpoint: flushing to the disk and hashing", sealed - written, "s")
        table.add("9B, checkpoint: loading", loaded - sealed, "s")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


PARTS: dict[str, Callable[[Sizes, Table], None]] = {
    "attention": attention,
    "reference": reference,
    "adapters": adapters,
    "canary": canary,
    "checkpoint": checkpoint,
}


def run(names: list[str], sizes: Sizes, minutes: float, folder: Path) -> Table:
    """Runs the parts in their order until the time is used up."""
    began = time.perf_counter()
    table = Table(torch.cuda.get_device_name() if on_gpu() else "CPU")
    for name, part in PARTS.items():
        if name not in names:
            table.leave_out(f"{name}: not asked for")
        elif (used := (time.perf_counter() - began) / 60) > minutes:
            table.leave_out(f"{name}: {used:.1f} of {minutes:g} minutes are used")
        else:
            try:
                part(sizes, table)
            except (torch.OutOfMemoryError, OSError) as error:
                table.leave_out(f"{name}: {str(error).splitlines()[0]}")
        table.write(folder)
    return table


def main(arguments: list[str]) -> str:
    """Runs the parts that are asked for, and returns what came of it in a line."""
    parser = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path())
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args(arguments)
    unknown = sorted(set(given.parts.split(",")) - set(PARTS))
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if not given.small and not on_gpu():
        return "No GPU here: torch sees none, so nothing was measured. --small tries the script on a CPU."
    silence_libraries()
    table = run(given.parts.split(","), TINY if given.small else REAL, given.minutes, given.out)
    return f"{len(table.rows)} figures of {table.device} in {given.out / 'gpu.json'}"


if __name__ == "__main__":
    print(main(sys.argv[1:]))
