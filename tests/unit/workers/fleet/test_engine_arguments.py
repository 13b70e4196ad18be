"""What an engine asks vLLM for."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from vllm.config.lora import MaxLoRARanks

from eva.config.files import load_config
from eva.solver.served_adapters import SERVED_RANKS, room_for
from tests.support.ray_fixtures import tiny_config
from workers.fleet.engine import STEP_TOKENS, engine_arguments
from workers.fleet.placement import CPU_SEQUENCES, engine_setup
from workers.models.model_folder import inspect_model
from workers.playground import MODEL_DIR


def arguments(**fleet: Any) -> dict[str, Any]:
    return engine_arguments(engine_setup(tiny_config(MODEL_DIR, **fleet), inspect_model(MODEL_DIR)), "folder")


def test_on_a_gpu_the_sizes_of_a_step_are_vllms_own_unless_the_config_says_otherwise() -> None:
    left = arguments(gpus_per_engine=1)
    assert not {"max_num_seqs", "max_num_batched_tokens", "distributed_executor_backend"} & left.keys()
    assert left["kv_cache_dtype"] == "auto"
    chosen = arguments(gpus_per_engine=1, max_sequences=64, step_tokens=2048, kv_cache_dtype="fp8")
    assert (chosen["max_num_seqs"], chosen["max_num_batched_tokens"], chosen["kv_cache_dtype"]) == (64, 2048, "fp8")


@pytest.mark.parametrize(("step_tokens", "expected"), [(None, STEP_TOKENS), (8192, 8192), (16, None)])
def test_on_a_cpu_a_step_holds_the_longest_prompt(step_tokens: int | None, expected: int | None) -> None:
    made = arguments(step_tokens=step_tokens)
    assert made["max_num_batched_tokens"] == (expected or made["max_model_len"])
    assert made["max_num_seqs"] == CPU_SEQUENCES and arguments(max_sequences=8)["max_num_seqs"] == 8


def test_an_engine_has_room_for_the_adapter_of_the_last_policy_and_none_unless_asked() -> None:
    """The playground's rank 12 for 3 iterations is 36, and vLLM's next rank 64."""
    config = load_config("playground", ["training.lora.rank=12", "training.lora.serve=adapter", "iterations=3"])
    made = engine_arguments(engine_setup(config, inspect_model(MODEL_DIR)), str(MODEL_DIR))
    assert (made["enable_lora"], made["max_loras"], made["max_lora_rank"]) == (True, 1, 64)
    assert {"q_proj", "down_proj"} <= {*made["lora_target_modules"]} and "lm_head" not in made["lora_target_modules"]
    merged = engine_setup(load_config("playground", ["training.lora.rank=12"]), inspect_model(MODEL_DIR))
    assert not any("lora" in name for name in engine_arguments(merged, str(MODEL_DIR)))


def test_the_ranks_that_adapters_have_room_for_are_those_of_vllm() -> None:
    assert get_args(MaxLoRARanks) == SERVED_RANKS
    assert [room_for(rank) for rank in (1, 2, 8, 9, 257, 512)] == [1, 8, 8, 16, 320, 512]


def test_several_gpus_are_the_engines_own_processes() -> None:
    """Inside a placement group vLLM would otherwise start actors, which would find no GPU left."""
    made = arguments(gpus_per_engine=4)
    assert (made["tensor_parallel_size"], made["distributed_executor_backend"]) == (4, "mp")
