"""The config.json of the models that presets name, as their publishers have them: the keys that decide dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eva.capacity.shapes import ModelShape, shape_of


def _config(architecture: str, model_type: str, **dimensions: Any) -> dict[str, Any]:
    return {"architectures": [architecture], "model_type": model_type, "torch_dtype": "bfloat16", **dimensions}


_LLAMA_8B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": False,
}

CONFIGS: Mapping[str, dict[str, Any]] = {
    "google/gemma-2-9b-it": _config(
        "Gemma2ForCausalLM",
        "gemma2",
        hidden_size=3584,
        intermediate_size=14336,
        num_hidden_layers=42,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=256,
        vocab_size=256000,
        max_position_embeddings=8192,
        attn_logit_softcapping=50.0,
    ),
    "RLHFlow/ArmoRM-Llama3-8B-v0.1": _config("LlamaForRewardModelWithGating", "llama", **_LLAMA_8B),
    "Skywork/Skywork-Reward-V2-Llama-3.1-8B": _config("LlamaForSequenceClassification", "llama", **_LLAMA_8B),
    "meta-llama/Llama-3.3-70B-Instruct": _config(
        "LlamaForCausalLM",
        "llama",
        hidden_size=8192,
        intermediate_size=28672,
        num_hidden_layers=80,
        num_attention_heads=64,
        num_key_value_heads=8,
        head_dim=128,
        vocab_size=128256,
        max_position_embeddings=131072,
        tie_word_embeddings=False,
    ),
    "Qwen/Qwen2.5-1.5B-Instruct": _config(
        "Qwen2ForCausalLM",
        "qwen2",
        hidden_size=1536,
        intermediate_size=8960,
        num_hidden_layers=28,
        num_attention_heads=12,
        num_key_value_heads=2,
        vocab_size=151936,
        max_position_embeddings=32768,
        tie_word_embeddings=True,
    ),
    "Skywork/Skywork-Reward-V2-Qwen3-0.6B": _config(
        "Qwen3ForSequenceClassification",
        "qwen3",
        hidden_size=1024,
        intermediate_size=3072,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        vocab_size=151936,
        max_position_embeddings=40960,
        tie_word_embeddings=True,
    ),
    "llm-blender/PairRM-hf": {
        "architectures": ["DebertaV2PairRM"],
        "model_type": "deberta-v2",
        "torch_dtype": "float32",
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "vocab_size": 128100,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
    },
}


def shape(name: str) -> ModelShape:
    """The shape of a model by its hub id."""
    found = shape_of(CONFIGS[name])
    assert found is not None
    return found
