"""Tiny random reward models in the layouts of the published ones, made in a second each."""

from __future__ import annotations

import json
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    Gemma2Config,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
)

from tests.support.tiny_models import CONTEXT, PAD, tokenizer

with warnings.catch_warnings():
    # transformers 5.19 compiles parts of DeBERTa by a deprecated call while it is imported.
    warnings.simplefilter("ignore", DeprecationWarning)
    from transformers import DebertaV2Model

__all__ = ["DebertaV2Model", "armorm", "classifier", "encoder", "llama3_tokenizer", "pairrm", "soft_capped"]

LLAMA3_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    "{{ message['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
_HEADERS = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
_MARKS = ["<|source|>", "<|candidate1|>", "<|candidate2|>"]
_SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": CONTEXT,
}
HEADS, WIDTH, DEPTH, TEMPERATURE = 19, 48, 3, 10


def llama3_tokenizer() -> PreTrainedTokenizerFast:
    """Byte level, with Llama 3's headers and template."""
    words = tokenizer()
    words.add_special_tokens({"additional_special_tokens": _HEADERS})
    words.chat_template = LLAMA3_TEMPLATE
    return words


def classifier(folder: Path, *, labels: int = 1, pad: str | None = PAD, seed: int = 0) -> Path:
    """A Llama for sequence classification; `pad` is the padding token of its config, which some published lack."""
    words = tokenizer()
    shape = _SHAPE | {
        "num_key_value_heads": 2,
        "vocab_size": len(words),
        "num_labels": labels,
        "pad_token_id": words.convert_tokens_to_ids(pad) if pad else None,
    }
    return _classifier(folder, LlamaConfig(**shape), words, seed)


def soft_capped(folder: Path) -> Path:
    """A Gemma 2 for sequence classification, with caps so low that they bend the scores of so small a model."""
    words = tokenizer()
    shape = _SHAPE | {"num_key_value_heads": 2, "head_dim": 32, "vocab_size": len(words), "num_labels": 1}
    caps = {"attn_logit_softcapping": 0.05, "pad_token_id": words.pad_token_id}
    return _classifier(folder, Gemma2Config(**shape, **caps), words, 0)


def encoder(folder: Path, *, seed: int = 0) -> Path:
    """A BERT for sequence classification, which takes prompt and response as two texts."""
    words = tokenizer(chat_template=False)
    shape = _SHAPE | {"vocab_size": len(words), "num_labels": 1, "pad_token_id": words.pad_token_id}
    return _classifier(folder, BertConfig(**shape), words, seed)


def _classifier(folder: Path, config: Any, words: PreTrainedTokenizerFast, seed: int) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
        _spread(dict(model.named_parameters()))
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def armorm(folder: Path, *, seed: int = 0) -> Path:
    """ArmoRM: the tensors' names and the keys of config.json are those of RLHFlow/ArmoRM-Llama3-8B-v0.1."""
    words = llama3_tokenizer()
    shape = _SHAPE | {"num_key_value_heads": 2, "vocab_size": len(words), "pad_token_id": words.pad_token_id}
    config: Any = LlamaConfig(**shape)
    extra = {
        "architectures": ["LlamaForRewardModelWithGating"],
        "num_objectives": HEADS,
        "gating_temperature": TEMPERATURE,
        "gating_hidden_dim": WIDTH,
        "gating_n_hidden": DEPTH,
        "auto_map": {"AutoModelForSequenceClassification": "modeling_custom.LlamaForRewardModelWithGating"},
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tensors = {f"model.{name}": tensor for name, tensor in LlamaModel(config).state_dict().items()}
        tensors |= {
            "regression_layer.weight": torch.empty(HEADS, config.hidden_size),
            "reward_transform_matrix": torch.empty(HEADS, HEADS),
        }
        widths = [config.hidden_size, *[WIDTH] * DEPTH, HEADS]
        for index, (one, other) in enumerate(pairwise(widths)):
            tensors |= {
                f"gating.layers.{index}.weight": torch.empty(other, one),
                f"gating.layers.{index}.bias": torch.randn(other),
            }
        _spread(tensors)
    tensors["gating.logit_scale"] = torch.tensor([1.5])
    return _written(folder, config, extra, tensors, words)


def pairrm(folder: Path, *, seed: int = 0) -> Path:
    """PairRM's ranker: names and config keys of llm-blender/PairRM-hf."""
    words = _bert_like(tokenizer(chat_template=False))
    ids: Any = words.convert_tokens_to_ids(_MARKS)
    shape = _SHAPE | {
        "max_position_embeddings": 64,
        "vocab_size": len(words),
        "pad_token_id": words.pad_token_id,
        "relative_attention": True,
        "position_buckets": 16,
        "pos_att_type": ["p2c", "c2p"],
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "position_biased_input": False,
        "type_vocab_size": 0,
    }
    config: Any = DebertaV2Config(**shape)
    extra = {
        "architectures": ["DebertaV2PairRM"],
        "n_tasks": 1,
        "drop_out": 0.05,
        "source_prefix_id": ids[0],
        "cand1_prefix_id": ids[1],
        "cand2_prefix_id": ids[2],
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tensors = {f"pretrained_model.{name}": tensor for name, tensor in DebertaV2Model(config).state_dict().items()}
        size = config.hidden_size
        tensors |= {
            "head_layer.1.weight": torch.empty(size, 2 * size),
            "head_layer.1.bias": torch.randn(size),
            "head_layer.4.weight": torch.empty(1, size),
            "head_layer.4.bias": torch.randn(1),
        }
        _spread(tensors)
    return _written(folder, config, extra, tensors, words)


def _bert_like(words: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Texts between [CLS] and [SEP], and PairRM's marks."""
    from tokenizers import processors

    words.add_special_tokens({"cls_token": "[CLS]", "sep_token": "[SEP]", "additional_special_tokens": _MARKS})
    ends = [(token, words.convert_tokens_to_ids(token)) for token in ("[CLS]", "[SEP]")]
    words.backend_tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return words


def _spread(tensors: dict[str, torch.Tensor]) -> None:
    """Weights large enough that texts get different rewards."""
    for tensor in tensors.values():
        if tensor.dim() > 1:
            torch.nn.init.normal_(tensor, std=0.15)


def _written(
    folder: Path, config: Any, extra: dict[str, Any], tensors: dict[str, torch.Tensor], words: PreTrainedTokenizerFast
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**config.to_dict(), **extra}))
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    words.save_pretrained(folder)
    return folder
