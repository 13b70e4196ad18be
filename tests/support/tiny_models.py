"""Small random language models in the standard Hugging Face layout, made in a second each.

About 100k parameters. The tokenizer is byte-level, so that it knows every text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BertConfig,
    BertModel,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}[{{ message['content'] }}]"
    "{% else %}<{{ message['role'] }}>{{ message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
CONTEXT = 256
_SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "max_position_embeddings": CONTEXT,
}


class Maker(Protocol):
    """Writes one architecture's model into a folder and returns the folder; `seed` decides the weights."""

    def __call__(self, folder: Path, *, tied: bool = True, seed: int = 0, chat_template: bool = True) -> Path: ...


def tokenizer(*, chat_template: bool = True, merges: tuple[tuple[str, str], ...] = ()) -> PreTrainedTokenizerFast:
    """Byte level; its post-processor adds a BOS, as many tokenizers do.

    `merges`: pairs of tokens with a token of their own. A model may sample the two, but no text is encoded as them.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merged = [first + second for first, second in merges]
    vocabulary = {token: index for index, token in enumerate((PAD, BOS, EOS, *alphabet, *merged))}
    inner = Tokenizer(models.BPE(vocabulary, [*merges]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    inner.decoder = decoders.ByteLevel()
    inner.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, vocabulary[BOS])])
    made = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    if chat_template:
        made.chat_template = CHAT_TEMPLATE
    return made


def _write(folder: Path, config: PretrainedConfig, seed: int, chat_template: bool) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    words = tokenizer(chat_template=chat_template)
    config.update(
        {
            "vocab_size": len(words),
            "pad_token_id": words.pad_token_id,
            "bos_token_id": words.bos_token_id,
            "eos_token_id": words.eos_token_id,
        }
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.15)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def llama(folder: Path, *, tied: bool = True, seed: int = 0, chat_template: bool = True) -> Path:
    """A Llama; `seed` decides its weights."""
    return _write(folder, LlamaConfig(**_SHAPE, tie_word_embeddings=tied), seed, chat_template)


def qwen2(folder: Path, *, tied: bool = True, seed: int = 0, chat_template: bool = True) -> Path:
    """A Qwen2 (biases in its attention)."""
    shape = {key: value for key, value in _SHAPE.items() if key != "head_dim"}
    return _write(folder, Qwen2Config(**shape, tie_word_embeddings=tied), seed, chat_template)


def qwen3(folder: Path, *, tied: bool = True, seed: int = 0, chat_template: bool = True) -> Path:
    """A Qwen3 (normalised queries and keys)."""
    return _write(folder, Qwen3Config(**_SHAPE, tie_word_embeddings=tied), seed, chat_template)


def gemma2(folder: Path, *, tied: bool = True, seed: int = 0, chat_template: bool = True) -> Path:
    """A Gemma 2 (soft caps, a sliding window, embeddings always tied inside vLLM)."""
    shape = Gemma2Config(**_SHAPE, tie_word_embeddings=tied, query_pre_attn_scalar=32, sliding_window=64)
    return _write(folder, shape, seed, chat_template)


def gemma3(folder: Path, *, tied: bool = True, seed: int = 0, chat_template: bool = True) -> Path:
    """A Gemma 3 (normalised queries and keys, sliding windows)."""
    shape = Gemma3TextConfig(**_SHAPE, tie_word_embeddings=tied, query_pre_attn_scalar=32, sliding_window=64)
    return _write(folder, shape, seed, chat_template)


def gpt2(folder: Path, *, tied: bool = True, seed: int = 0, chat_template: bool = True) -> Path:
    """A GPT-2 (learned positions, other names of its tensors)."""
    shape = GPT2Config(n_embd=64, n_layer=2, n_head=2, n_positions=CONTEXT, tie_word_embeddings=tied)
    return _write(folder, shape, seed, chat_template)


def sentence_encoder(folder: Path, *, seed: int = 0, pooler: bool = False) -> Path:
    """A BERT as sentence encoders are published: its hidden states are its output; `pooler` adds what stands behind."""
    words = tokenizer(chat_template=False)
    shape = {key: value for key, value in _SHAPE.items() if key not in ("head_dim", "num_key_value_heads")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertModel(
            BertConfig(**shape, vocab_size=len(words), pad_token_id=words.vocab[str(words.pad_token)]),
            add_pooling_layer=pooler,
        )
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.15)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def record_canary(folder: Path, *, tolerance: float = 2e-3) -> Path:
    """Writes `canary.json` as the trainer does."""
    from workers.training.canary import write_canary
    from workers.training.checkpoint_files import load_policy

    write_canary(folder, load_policy(folder), AutoTokenizer.from_pretrained(folder), dtype="float32", allowed=tolerance)
    return folder


def nudge(folder: Path, out: Path, step: float, seed: int = 0) -> Path:
    """Writes a copy of a model whose every weight is moved by `step` up or down, as Adam's first steps do."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += step * (2 * torch.randint(0, 2, parameter.shape, generator=draw) - 1)
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(folder).save_pretrained(out)
    return out
