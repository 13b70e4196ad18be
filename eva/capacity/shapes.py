"""The dimensions of a transformer, from its config.json: how many parameters, and how much a token's cache takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder's dimensions. `stored`: bytes of a stored parameter; `heads_out`: whether it ends in a vocabulary."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool
    stored: int = 2
    soft_capped: bool = False
    max_positions: int | None = None
    heads_out: bool = True
    counted: int | None = None
    """The number of parameters where the weights are here to be counted; else it follows from the dimensions."""

    @property
    def layer_parameters(self) -> int:
        """Parameters of one layer: attention, the gated feed-forward part, norms."""
        if self.counted is not None:
            return max(0, self.counted - self.root_parameters) // self.layers
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        return attention + 3 * self.hidden * self.intermediate + 2 * self.hidden

    @property
    def root_parameters(self) -> int:
        """Parameters outside the layers: embeddings, and the head unless it is tied to them or absent."""
        return self.embedding_parameters * (1 if self.tied or not self.heads_out else 2)

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the embeddings of tokens."""
        return self.vocab * self.hidden

    @property
    def parameters(self) -> int:
        if self.counted is not None:
            return self.counted
        return self.root_parameters + self.layers * self.layer_parameters + self.hidden

    @property
    def linear_features(self) -> int:
        """Inputs and outputs of all linear modules in the layers: low-rank adapters have `rank` parameters for each."""
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = 2 * (self.hidden + query) + 2 * (self.hidden + key)
        return self.layers * (attention + 3 * (self.hidden + self.intermediate))

    def cache_bytes(self, width: int = 2) -> int:
        """Bytes of the key-value cache for one token."""
        return 2 * self.layers * self.kv_heads * self.head_dim * width

    def counting(self, parameters: int) -> ModelShape:
        """This shape with the number of parameters that its weights really have."""
        return replace(self, counted=parameters)


def shape_of(config: Mapping[str, Any]) -> ModelShape | None:
    """Returns the shape that a config.json describes, or None for a model that is no dense decoder or encoder."""
    text: dict[str, Any] = {**config, **cast("dict[str, Any]", config.get("text_config") or {})}

    def first(*names: str) -> int | None:
        return next((int(text[name]) for name in names if isinstance(text.get(name), int)), None)

    hidden, layers = first("hidden_size", "n_embd", "d_model"), first("num_hidden_layers", "n_layer")
    heads, vocab = first("num_attention_heads", "n_head"), first("vocab_size")
    if not (hidden and layers and heads and vocab) or any((first(name) or 0) > 1 for name in _EXPERTS):
        return None
    architecture = str((config.get("architectures") or [""])[0])
    return ModelShape(
        layers=layers,
        hidden=hidden,
        intermediate=first("intermediate_size", "n_inner", "ffn_dim") or 4 * hidden,
        heads=heads,
        kv_heads=first("num_key_value_heads") or heads,
        head_dim=first("head_dim") or hidden // heads,
        vocab=vocab,
        # of older configs, those of the Gemma family leave the flag out and tie
        tied=bool(text.get("tie_word_embeddings", str(text.get("model_type", "")).startswith("gemma"))),
        stored=_BYTES.get(str(text.get("dtype") or text.get("torch_dtype")), 4),
        soft_capped=text.get("attn_logit_softcapping") is not None,
        max_positions=first("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length"),
        heads_out="Classification" not in architecture and "Reward" not in architecture,
    )
