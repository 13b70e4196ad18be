"""The memory of one training process, in bytes, at the peak of an optimiser step or of the pass over the reference.

P: parameters; R: those outside the layers (embeddings, head); N: devices. Training keeps float32 weights and computes
in bfloat16.

- alone: 4 P weights, 4 P gradients, 2 P copy in bfloat16, the optimiser's state (8 P AdamW, 4 P RMSprop, 2 P 8-bit).
- ddp: the same on every device, and 4 P for the reducer's buckets.
- fsdp2: weights, gradients and state are divided by N. What is gathered at a time comes on top: R in bfloat16 (for the
  whole step if the head is the embeddings, too), two layers in bfloat16, and the gradients of what is being reduced in
  bfloat16 and float32.
- adapters: 2 P frozen weights in bfloat16, and the adapters' float32 weights, gradients and state.
- activations: one hidden state per layer and token with activation checkpointing, and everything inside one layer;
  everything inside all layers without. Plain attention also keeps its scores. The head's are computed in parts.

Within 8 % of the peaks of divided jobs of 9B and 70B on fake tensors, which the tests have; CUDA, NCCL and
fragmentation are an allowance of 5 GB.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from eva.capacity.shapes import ModelShape
from eva.config import RunConfig, Training

STATE_BYTES: Mapping[str, int] = {"adamw": 8, "rmsprop": 4, "adamw_8bit": 2}
"""Bytes of an optimiser's state per trained parameter."""
OVERHEAD = 5 * 10**9
"""CUDA's context, NCCL's buffers, fragmentation."""
HEAD_ROWS = 512
"""Rows of logits that exist at a time."""
REFERENCE_TOKENS = 32_768


@dataclass(frozen=True, slots=True)
class TrainingSetup:
    """What decides a training's memory and speed.

    `sharding`: what `training.sharding` stands for on GPUs. `responses`: what the loss takes of a prompt at once.
    """

    sharding: Literal["fsdp2", "ddp", "none"]
    devices: int = 1
    batch: int = 8
    per_device_batch: int | None = None
    max_length: int = 2048
    optimiser: str = "adamw"
    rank: int | None = None
    offload: bool = False
    activation_checkpointing: bool = True
    attention: str = "auto"
    reference_tokens: int = REFERENCE_TOKENS
    responses: int = 2


def setup_of(training: Training, responses: int = 2) -> TrainingSetup:
    """The setup that a config asks for, on GPUs; `responses` is what its loss takes of a prompt at once."""
    return TrainingSetup(
        sharding=training.sharding_on(gpu=True),
        devices=training.devices,
        batch=training.batch,
        per_device_batch=training.per_device_batch,
        max_length=training.max_length,
        optimiser=training.optimiser,
        rank=None if training.lora is None else training.lora.rank,
        offload=training.offload,
        activation_checkpointing=training.activation_checkpointing is not False,
        attention=training.attention,
        reference_tokens=training.reference_tokens or REFERENCE_TOKENS,
        responses=responses,
    )


def responses_per_row(config: RunConfig) -> int:
    """How many responses the loss takes at once: one if it is online, a pair, or all that a prompt may have."""
    if config.training.facts.online:
        return 1
    return config.generation.n if config.training.ranked and config.pairs.choice == "all_vs_best" else 2


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """Bytes by what they are for. `parts` hold at the same time; `note` says what they are computed from."""

    parts: Mapping[str, float] = field(default_factory=dict[str, float])
    note: str = ""

    @property
    def total(self) -> float:
        return sum(self.parts.values())

    def __str__(self) -> str:
        shown = " + ".join(f"{name} {size / 1e9:.1f}" for name, size in self.parts.items() if size >= 5e7)
        return f"{shown} = {self.total / 1e9:.1f} GB" + (f" ({self.note})" if self.note else "")


def training_memory(shape: ModelShape, training: TrainingSetup) -> GpuMemory:
    """What one process holds on its GPU at most: in a step, or while the reference scores the pairs."""
    step, reference = step_memory(shape, training), _reference_pass(shape, training)
    return max((step, reference), key=lambda need: need.total)


def host_memory(shape: ModelShape, training: TrainingSetup) -> int:
    """What the training holds in the main memory of the machine with the first process, at its peak.

    The policy is read in float32 and the reference beside it, in bfloat16 where the policy computes in it. With fsdp2
    only the first process reads; with ddp each.
    """
    sharding = training.sharding
    processes = training.devices if sharding == "ddp" else 1
    policy, reference = (2, 2) if training.rank is not None else (4, 2) if sharding == "fsdp2" else (4, 4)
    loading = processes * (policy + reference) * shape.parameters
    if not training.offload:
        return loading
    state = 4 + 4 + STATE_BYTES.get(training.optimiser, 8)
    return max(loading, state * shape.parameters)


def rows_of(training: TrainingSetup) -> int:
    """Rows of one forward pass on one device: two per pair, or as many as a prompt has responses."""
    return training.responses * (training.per_device_batch or max(1, training.batch // training.devices))


def plain_attention(shape: ModelShape, training: TrainingSetup) -> bool:
    """Whether attention keeps its scores: fused attention would ignore a model's soft caps."""
    return training.attention == "eager" or (training.attention == "auto" and shape.soft_capped)


def step_memory(shape: ModelShape, training: TrainingSetup) -> GpuMemory:
    """What one process holds on its GPU in an optimiser step."""
    total, state = shape.parameters, STATE_BYTES.get(training.optimiser, 8)
    rows, length = rows_of(training), training.max_length
    activations = _activations(shape, training, rows)
    shown = f"{rows} rows x {length:,} tokens"
    if training.rank is not None:
        adapters = training.rank * shape.linear_features
        parts = {"frozen weights": 2.0 * total, "adapters": (4 + 4 + state) * adapters, **activations}
    elif training.sharding == "fsdp2":
        parts = _divided(shape, training, activations)
        shown = f"divided by {training.devices}; {shown}"
    else:
        buckets = 4.0 * total if training.devices > 1 else 0.0
        parts = {
            "weights": 4.0 * total,
            "gradients": 4.0 * total,
            "buckets": buckets,
            "optimiser": float(state * total),
            "bfloat16 copy": 2.0 * total,
            **activations,
        }
    return GpuMemory({**parts, "CUDA": OVERHEAD}, shown)


def _divided(shape: ModelShape, training: TrainingSetup, activations: Mapping[str, float]) -> dict[str, float]:
    """The worst moment of a divided step: as its backward pass begins, or as it reduces the embeddings at its end.

    As it begins, all activations are there; gradients only if they wait for those of other passes of the batch.
    """
    root, layer = shape.root_parameters, shape.layer_parameters
    held = 0.0 if training.offload else shape.parameters / training.devices
    state = {"weights": 4 * held, "optimiser": STATE_BYTES.get(training.optimiser, 8) * held}
    pairs = rows_of(training) // training.responses * training.devices
    waiting = 4 * held if training.batch > pairs else 0.0
    # a layer's gradient is reduced in float32 while the next layer is gathered; that of a head which is the embeddings,
    # too, waits for them in bfloat16, and one of its own was reduced before
    head, layers = 4.0 * root, 4.0 * layer + 6.0 * layer
    gathered = head + layers if root == shape.embedding_parameters else max(head, layers)
    begin = {**state, "gradients": waiting, "gathered": gathered, **activations}
    # of what lies outside the layers, the embeddings are reduced last; a head of its own already was
    end = {**state, "gradients": 4 * held, "gathered": 2.0 * root + 6.0 * shape.embedding_parameters}
    return max((begin, end), key=lambda parts: sum(parts.values()))


def _activations(shape: ModelShape, training: TrainingSetup, rows: int) -> dict[str, float]:
    tokens = rows * training.max_length
    checkpointing = training.activation_checkpointing
    inside = tokens * _layer_bytes(shape) + _score_bytes(shape, training, rows)
    kept = tokens * shape.hidden * 2 * shape.layers + inside if checkpointing else inside * shape.layers
    # logits of one part in float32; a head that is trained adds their softmax and gradient
    parts = 1.0 if training.rank is not None else 3.0
    return {"activations": float(kept), "logits": parts * 4 * HEAD_ROWS * shape.vocab}


def _layer_bytes(shape: ModelShape) -> int:
    """Bytes that one layer keeps of a token: in bfloat16, norms in float32."""
    attention = (2 * shape.heads + 2 * shape.kv_heads) * shape.head_dim
    return 2 * (2 * shape.hidden + attention + 4 * shape.intermediate) + 4 * 4 * shape.hidden


def _score_bytes(shape: ModelShape, training: TrainingSetup, rows: int) -> float:
    """Bytes of plain attention's scores in one layer: bfloat16, float32 and, with a soft cap, its copies."""
    if not plain_attention(shape, training):
        return 0.0
    return float(rows * shape.heads * training.max_length**2 * (2 + 4 + (6 if shape.soft_capped else 2)))


def _reference_pass(shape: ModelShape, training: TrainingSetup) -> GpuMemory:
    """The policy waits on the device while the reference scores the pairs, without gradients."""
    total = shape.parameters
    tokens = training.reference_tokens
    rows = max(1, tokens // training.max_length)
    inside = tokens * _layer_bytes(shape) / 2 + _score_bytes(shape, training, rows) / 2
    if training.rank is not None:
        parts = {"frozen weights": 2.0 * total, "reference": 2.0 * total}
    elif training.sharding == "fsdp2":
        held = 0 if training.offload else total / training.devices
        parts = {
            "weights": 4 * held,
            "reference": 2 * held,
            "gathered": 2.0 * shape.root_parameters + 4.0 * shape.layer_parameters,
        }
    else:
        parts = {"weights": 4.0 * total, "reference": 4.0 * total, "bfloat16 copy": 2.0 * total}
    parts |= {"activations": inside, "logits": 8.0 * HEAD_ROWS * shape.vocab, "CUDA": float(OVERHEAD)}
    return GpuMemory(parts, f"while the reference scores {tokens:,} tokens at a time")
