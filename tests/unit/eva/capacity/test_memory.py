"""The arithmetic of memory gives the figures that were worked out by hand or measured on fake tensors."""

from __future__ import annotations

from typing import Any

import pytest

from eva.capacity.machines import GB, GPUS, Gpu, gpu_named, parse_machines
from eva.capacity.serving_memory import engine_memory, reward_memory
from eva.capacity.shapes import shape_of
from eva.capacity.training_memory import OVERHEAD, TrainingSetup, host_memory, step_memory, training_memory
from eva.config import PointwiseReward
from eva.config.files import load_config
from eva.errors import ConfigError
from tests.support.model_shapes import CONFIGS, shape

GEMMA, LLAMA_70B = "google/gemma-2-9b-it", "meta-llama/Llama-3.3-70B-Instruct"
STATE = ("weights", "gradients", "buckets", "optimiser", "bfloat16 copy")
GIB = 2**30
UNKNOWN = Gpu("unknown", 0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        (GEMMA, 9.24e9),
        (LLAMA_70B, 70.55e9),
        ("RLHFlow/ArmoRM-Llama3-8B-v0.1", 7.5e9),
        ("Qwen/Qwen2.5-1.5B-Instruct", 1.5437e9),
        ("Skywork/Skywork-Reward-V2-Qwen3-0.6B", 0.596e9),
    ],
)
def test_parameters_follow_from_the_dimensions(name: str, parameters: float) -> None:
    assert shape(name).parameters == pytest.approx(parameters, rel=0.002)


def test_a_counted_number_of_parameters_wins_and_unknown_models_have_no_shape() -> None:
    counted = shape(GEMMA).counting(9_300_000_000)
    assert counted.parameters == 9_300_000_000
    assert counted.root_parameters + 42 * counted.layer_parameters == pytest.approx(9.3e9, rel=1e-6)
    assert shape_of({}) is None
    assert shape_of(CONFIGS[GEMMA] | {"num_local_experts": 8}) is None
    assert shape_of({"text_config": CONFIGS[GEMMA]}) == shape_of(CONFIGS[GEMMA])


def test_data_parallel_training_of_9b_keeps_203_gb_on_each_device() -> None:
    need = training_memory(shape(GEMMA), TrainingSetup("ddp", devices=4, per_device_batch=1))
    assert sum(need.parts[name] for name in STATE) == pytest.approx(203e9, rel=0.01)
    alone = training_memory(shape(GEMMA), TrainingSetup("none", per_device_batch=1))
    assert sum(alone.parts.get(name, 0) for name in STATE) == pytest.approx(166e9, rel=0.01), "without buckets"


@pytest.mark.parametrize(("devices", "pairs", "step_gib"), [(8, 1, 15.75), (4, 1, 23.93), (8, 4, 19.11)])
def test_divided_training_of_9b_peaks_where_fake_tensors_peaked(devices: int, pairs: int, step_gib: float) -> None:
    """Seen for rows of 2,048 tokens with activation checkpointing: the peak of a pass, without AdamW's state."""
    training = TrainingSetup("fsdp2", devices=devices, per_device_batch=pairs, batch=devices * pairs, attention="flex")
    need = training_memory(shape(GEMMA), training)
    state_gib = 8 * shape(GEMMA).parameters / devices / GIB
    assert (need.total - OVERHEAD) / GIB == pytest.approx(step_gib + state_gib, rel=0.05)
    assert need.parts["optimiser"] / GIB == pytest.approx(state_gib)


@pytest.mark.parametrize(
    ("layers", "max_length", "batch", "step_gb"),
    [(80, 2048, 32, 27.55), (8, 2048, 32, 12.52), (8, 8192, 32, 21.03), (8, 8192, 64, 22.02)],
)
def test_divided_training_of_70b_and_of_fewer_such_layers_peaks_where_fake_tensors_peaked(
    layers: int, max_length: int, batch: int, step_gb: float
) -> None:
    """Seen on 32 devices with a pair at a time: the peak of a pass, without AdamW's state. The head is its own."""
    cut = shape_of(CONFIGS[LLAMA_70B] | {"num_hidden_layers": layers})
    assert cut is not None
    training = TrainingSetup("fsdp2", devices=32, per_device_batch=1, batch=batch, max_length=max_length)
    need = step_memory(cut, training)
    assert need.total - OVERHEAD - need.parts["optimiser"] == pytest.approx(step_gb * 1e9, rel=0.08)


def test_what_a_process_holds_falls_with_devices_state_and_offload() -> None:
    def total(**settings: Any) -> float:
        return training_memory(shape(GEMMA), TrainingSetup("fsdp2", **settings)).total

    whole = total(devices=8)
    assert total(devices=4, per_device_batch=1) > whole > total(devices=8, optimiser="adamw_8bit")
    assert total(devices=8, optimiser="rmsprop") == pytest.approx(whole - 4 * 9.24e9 / 8, rel=0.01)
    assert total(devices=8, offload=True) < 20e9
    assert total(devices=8, activation_checkpointing=False) > whole + 30e9
    waiting = total(devices=8, batch=32, per_device_batch=1)
    assert total(devices=8, batch=32, per_device_batch=1, attention="flex") < waiting, (
        "plain attention keeps its scores"
    )
    assert waiting > whole, "gradients wait for the other passes of the batch"


def test_adapters_keep_half_precision_weights_twice_while_the_reference_scores() -> None:
    need = training_memory(shape(GEMMA), TrainingSetup("ddp", devices=4, per_device_batch=1, rank=16))
    assert need.parts["frozen weights"] == need.parts["reference"] == pytest.approx(18.5e9, rel=0.01)
    assert "reference scores 32,768 tokens" in need.note


def test_70b_fits_80_gb_on_32_devices_and_not_on_16() -> None:
    fits = training_memory(shape(LLAMA_70B), TrainingSetup("fsdp2", batch=32, devices=32))
    assert 50e9 < fits.total < 80e9
    assert training_memory(shape(LLAMA_70B), TrainingSetup("fsdp2", batch=16, devices=16)).total > 80e9


def test_main_memory_counts_every_process_that_reads_the_weights() -> None:
    gemma = shape(GEMMA)
    divided = host_memory(gemma, TrainingSetup("fsdp2", devices=8))
    assert divided == pytest.approx((4 + 2) * 9.24e9, rel=0.001), "only the first process reads"
    assert host_memory(gemma, TrainingSetup("ddp", devices=8)) == 8 * 8 * gemma.parameters
    assert host_memory(gemma, TrainingSetup("fsdp2", devices=8, offload=True)) == 16 * gemma.parameters


def test_an_engine_needs_its_weights_and_the_cache_of_one_context() -> None:
    config = load_config("paper-dpo")
    engine = engine_memory(shape(GEMMA), config, parse_machines("8xH100").gpu or UNKNOWN)
    assert engine.need.parts["weights"] == pytest.approx(18.5e9, rel=0.01)
    assert shape(GEMMA).cache_bytes() == 2 * 42 * 8 * 256 * 2
    assert engine.cache_tokens == pytest.approx((0.85 * 80e9 - 18.48e9 - 3e9) / 344_064, rel=0.001)
    assert engine.fits and engine.context == 8192
    small = engine_memory(shape(GEMMA), config, parse_machines("8x24").gpu or UNKNOWN)
    assert not small.fits and small.share == pytest.approx(0.85 * 24e9)


def test_an_engine_that_serves_adapters_keeps_room_for_the_one_of_the_last_policy() -> None:
    adapted = load_config("paper-dpo", ["training.lora.rank=16", "training.lora.serve=adapter", "iterations=4"])
    gpu = parse_machines("8xH100").gpu or UNKNOWN
    served, merged = (engine_memory(shape(GEMMA), config, gpu) for config in (adapted, load_config("paper-dpo")))
    assert served.need.parts["adapter"] == pytest.approx(432e6, rel=0.001)
    assert served.need.total - merged.need.total == pytest.approx(432e6, rel=0.001)


def test_a_reward_model_needs_its_weights_and_one_batch() -> None:
    gpu = parse_machines("1x80").gpu or UNKNOWN
    reward = PointwiseReward(kind="pointwise", model="m", gpus=1)
    need = reward_memory(shape("RLHFlow/ArmoRM-Llama3-8B-v0.1"), reward, gpu)
    assert need.parts["weights"] == pytest.approx(15e9, rel=0.01) and 17e9 < need.total < 21e9
    pooled = reward.model_copy(update={"backend": "vllm", "memory_fraction": 0.3})
    assert reward_memory(shape("RLHFlow/ArmoRM-Llama3-8B-v0.1"), pooled, gpu).total == pytest.approx(24e9)


def test_machines_are_read_as_people_write_them() -> None:
    four = parse_machines("4:8x80")
    assert (len(four.nodes), four.gpus) == (4, 32) and four.gpu is not None and four.gpu.memory == 80 * GB
    assert str(parse_machines("8xH200")) == "these machines (8 x H200, 141 GB)"
    assert "4 nodes" in str(four)
    for text in ("8", "x80", "0x80", "8xFoo", "8x0", "", "0:8x80"):
        with pytest.raises(ConfigError, match="8x80"):
            parse_machines(text)


def test_a_gpu_is_known_by_its_name_or_by_its_memory() -> None:
    named = gpu_named("NVIDIA H100 80GB HBM3", 81_559 * 2**20)
    assert named is not None and (named.flops, named.memory) == (989e12, 81_559 * 2**20)
    for name, memory, bandwidth in (("NVIDIA A100-SXM4-40GB", 40_960, 1.56e12), ("A100-SXM4-80GB", 81_920, 2.04e12)):
        found = gpu_named(name, memory * 2**20)
        assert found is not None and found.bandwidth == pytest.approx(bandwidth)
    assert [found and found.name for found in map(gpu_named, (gpu.name for gpu in GPUS))] == [gpu.name for gpu in GPUS]
    assert gpu_named("Foo") is None
    unknown = gpu_named("Foo", 24 * GB)
    assert unknown is not None and unknown.name == "Foo" and unknown.memory == 24 * GB
